//! WAV files from bytes.

/// A chunk, with its pad byte.
pub fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = [name.as_slice(), &(body.len() as u32).to_le_bytes(), body].concat();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

/// A file of these chunks.
pub fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = chunks.concat();
    [b"RIFF".as_slice(), &(4 + body.len() as u32).to_le_bytes(), b"WAVE", &body].concat()
}

/// How samples are stored: the fields of a `fmt ` chunk that matter.
#[derive(Clone, Copy)]
pub struct Fmt {
    pub tag: u16,
    pub channels: u16,
    pub rate: u32,
    pub align: u16,
    pub bits: u16,
}

impl Fmt {
    /// With the alignment that follows from channels and bits.
    pub fn new(tag: u16, channels: u16, rate: u32, bits: u16) -> Self {
        Self { tag, channels, rate, align: channels.wrapping_mul(bits.div_ceil(8)), bits }
    }

    pub fn bytes(self) -> Vec<u8> {
        let Self { tag, channels, rate, align, bits } = self;
        let mut bytes = [tag.to_le_bytes(), channels.to_le_bytes()].concat();
        bytes.extend(rate.to_le_bytes());
        bytes.extend(rate.wrapping_mul(align.into()).to_le_bytes());
        bytes.extend([align.to_le_bytes(), bits.to_le_bytes()].concat());
        bytes
    }

    /// As an extensible format, of which `valid` bits count.
    pub fn extensible(self, valid: u16) -> Vec<u8> {
        let mut bytes = Self { tag: 0xfffe, ..self }.bytes();
        bytes.extend([22u16.to_le_bytes(), valid.to_le_bytes()].concat());
        bytes.extend([0; 4]);
        bytes.extend(self.tag.to_le_bytes());
        bytes.extend(b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
        bytes
    }

    /// A file of these samples.
    pub fn wav(self, data: &[u8]) -> Vec<u8> {
        riff(&[chunk(b"fmt ", &self.bytes()), chunk(b"data", data)])
    }
}

/// One channel of 16 bits at 16 kHz.
pub fn mono16() -> Fmt {
    Fmt::new(1, 1, 16_000, 16)
}

/// Numbers as bytes.
pub fn words(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// The file with another number in 4 bytes.
pub fn with(mut file: Vec<u8>, at: usize, number: u32) -> Vec<u8> {
    file[at..at + 4].copy_from_slice(&number.to_le_bytes());
    file
}
