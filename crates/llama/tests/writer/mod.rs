//! Writes GGUF files, right ones and wrong ones.

/// A metadata value.
pub enum Meta {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(&'static str),
    Strings(Vec<&'static str>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
    U8s(Vec<u8>),
    /// A value of type `kind`, an array of `of` if that is given, that claims a length and brings nothing.
    Claim {
        kind: u32,
        count: u64,
        of: Option<u32>,
    },
}

/// A tensor; `offset` stands where the right one is not wanted.
pub struct Stored {
    name: String,
    dimensions: Vec<u64>,
    kind: u32,
    data: Vec<u8>,
    pub offset: Option<u64>,
}

/// What a file holds.
pub struct Writer {
    pub version: u32,
    pub alignment: Option<Meta>,
    pub metadata: Vec<(String, Meta)>,
    pub tensors: Vec<Stored>,
}

impl Default for Writer {
    fn default() -> Self {
        Self { version: 3, alignment: None, metadata: Vec::new(), tensors: Vec::new() }
    }
}

impl Writer {
    pub fn meta(&mut self, key: &str, value: Meta) {
        self.metadata.push((key.into(), value));
    }

    pub fn with(mut self, key: &str, value: Meta) -> Self {
        self.meta(key, value);
        self
    }

    /// Adds a tensor; `dimensions` in the order of the file, the fastest first.
    pub fn tensor(&mut self, name: &str, dimensions: &[u64], kind: u32, data: Vec<u8>) {
        self.tensors.push(Stored { name: name.into(), dimensions: dimensions.into(), kind, data, offset: None });
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend(((self.metadata.len() + usize::from(self.alignment.is_some())) as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            pair(&mut out, key, value);
        }
        let alignment = match &self.alignment {
            Some(Meta::U32(n)) if (8..1 << 10).contains(n) => *n as usize,
            _ => 32,
        };
        if let Some(value) = &self.alignment {
            pair(&mut out, "general.alignment", value);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            string(&mut out, &tensor.name);
            out.extend((tensor.dimensions.len() as u32).to_le_bytes());
            tensor.dimensions.iter().for_each(|n| out.extend(n.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
            data.resize(data.len().next_multiple_of(alignment), 0);
        }
        out.resize(out.len().next_multiple_of(alignment), 0);
        // No padding after the last tensor: a byte less is a byte too few.
        let padding = self.tensors.last().map_or(0, |t| t.data.len().next_multiple_of(alignment) - t.data.len());
        data.truncate(data.len() - padding);
        out.extend(data);
        out
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn array<const N: usize>(out: &mut Vec<u8>, kind: u32, entries: impl ExactSizeIterator<Item = [u8; N]>) {
    out.extend(9u32.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend((entries.len() as u64).to_le_bytes());
    out.extend(entries.flatten());
}

fn pair(out: &mut Vec<u8>, key: &str, value: &Meta) {
    string(out, key);
    let mut plain = |kind: u32, bytes: &[u8]| {
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        Meta::U8(n) => plain(0, &n.to_le_bytes()),
        Meta::I8(n) => plain(1, &n.to_le_bytes()),
        Meta::U16(n) => plain(2, &n.to_le_bytes()),
        Meta::I16(n) => plain(3, &n.to_le_bytes()),
        Meta::U32(n) => plain(4, &n.to_le_bytes()),
        Meta::I32(n) => plain(5, &n.to_le_bytes()),
        Meta::F32(x) => plain(6, &x.to_le_bytes()),
        Meta::Bool(b) => plain(7, &[u8::from(*b)]),
        Meta::U64(n) => plain(10, &n.to_le_bytes()),
        Meta::I64(n) => plain(11, &n.to_le_bytes()),
        Meta::F64(x) => plain(12, &x.to_le_bytes()),
        Meta::String(text) => {
            plain(8, &[]);
            string(out, text);
        }
        Meta::Strings(list) => {
            array(out, 8, std::iter::empty::<[u8; 0]>());
            let at = out.len() - 8;
            out[at..].copy_from_slice(&(list.len() as u64).to_le_bytes());
            list.iter().for_each(|text| string(out, text));
        }
        Meta::F32s(list) => array(out, 6, list.iter().map(|x| x.to_le_bytes())),
        Meta::I32s(list) => array(out, 5, list.iter().map(|n| n.to_le_bytes())),
        Meta::U8s(list) => array(out, 0, list.iter().map(|n| n.to_le_bytes())),
        Meta::Claim { kind, count, of } => {
            plain(*kind, &[]);
            of.iter().for_each(|kind| out.extend(kind.to_le_bytes()));
            out.extend(count.to_le_bytes());
        }
    }
}
