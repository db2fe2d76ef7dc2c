//! The header and the metadata, read front to back.

use std::collections::BTreeMap;
use std::path::Path;

use super::{GgufError, Value};

/// Longest key, by the format's description.
const LONGEST_KEY: u64 = 65_535;

/// Entries for which room is made before they were seen.
const TRUSTED: u64 = 1 << 16;

/// The bytes of a file and how far they were read.
pub(super) struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

/// Counts of the header.
pub(super) struct Header {
    pub tensors: u64,
    pub pairs: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        Self { path, bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    pub(super) fn damaged(&self, problem: impl Into<String>) -> GgufError {
        GgufError::Damaged { path: self.path.to_path_buf(), problem: problem.into() }
    }

    pub(super) fn path(&self) -> &Path {
        self.path
    }

    pub(super) fn header(&mut self) -> Result<Header, GgufError> {
        if self.bytes.get(..4) != Some(b"GGUF") {
            return Err(self.damaged("does not begin with `GGUF`"));
        }
        self.at = 4;
        match self.u32("version")? {
            2 | 3 => {}
            version if version.swap_bytes() <= 3 => return Err(self.damaged("is big endian, which is not supported")),
            version => return Err(self.damaged(format!("version {version} is not supported; 2 and 3 are"))),
        }
        let (tensors, pairs) = (self.u64("number of tensors")?, self.u64("number of key-value pairs")?);
        // A pair takes at least 8 + 4 + 1 bytes, a tensor's info 8 + 4 + 4 + 8.
        for (count, size, what) in [(pairs, 13, "key-value pairs"), (tensors, 24, "tensors")] {
            if count > self.left() / size {
                return Err(self.damaged(format!("claims {count} {what}, which {} bytes cannot hold", self.left())));
            }
        }
        Ok(Header { tensors, pairs })
    }

    pub(super) fn metadata(&mut self, pairs: u64) -> Result<BTreeMap<String, Value>, GgufError> {
        let mut metadata = BTreeMap::new();
        for index in 0..pairs {
            let what = format!("key {index}");
            let length = self.u64(&what)?;
            if length > LONGEST_KEY {
                return Err(self.damaged(format!("{what} has {length} bytes, at most {LONGEST_KEY} are allowed")));
            }
            let key = self.text(length, &what)?;
            let kind = self.u32(&key)?;
            let value = self.value(kind, &key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(self.damaged(format!("`{key}` is there twice")));
            }
        }
        Ok(metadata)
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<Value, GgufError> {
        Ok(match kind {
            6 => Value::Float(f64::from(f32::from_le_bytes(self.take(key)?))),
            12 => Value::Float(f64::from_le_bytes(self.take(key)?)),
            7 => Value::Bool(self.take::<1>(key)?[0] != 0),
            8 => Value::String(self.string(key)?),
            9 => self.array(key)?,
            _ => Value::Int(self.integer(kind, key)?),
        })
    }

    fn integer(&mut self, kind: u32, key: &str) -> Result<i128, GgufError> {
        Ok(match kind {
            0 => self.take::<1>(key)?[0].into(),
            1 => (self.take::<1>(key)?[0] as i8).into(),
            2 => u16::from_le_bytes(self.take(key)?).into(),
            3 => i16::from_le_bytes(self.take(key)?).into(),
            4 => u32::from_le_bytes(self.take(key)?).into(),
            5 => i32::from_le_bytes(self.take(key)?).into(),
            10 => u64::from_le_bytes(self.take(key)?).into(),
            11 => i64::from_le_bytes(self.take(key)?).into(),
            _ => return Err(self.damaged(format!("`{key}` has the unknown value type {kind}"))),
        })
    }

    fn array(&mut self, key: &str) -> Result<Value, GgufError> {
        let (kind, count) = (self.u32(key)?, self.u64(key)?);
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            _ => return Err(self.damaged(format!("`{key}` is an array of the unsupported type {kind}"))),
        };
        if count > self.left() / size {
            let problem = format!("`{key}` claims {count} entries, which {} bytes cannot hold", self.left());
            return Err(self.damaged(problem));
        }
        let room = count.min(TRUSTED) as usize;
        Ok(match kind {
            8 => {
                let mut list = Vec::with_capacity(room);
                for _ in 0..count {
                    list.push(self.string(key)?);
                }
                Value::Strings(list)
            }
            6 => Value::Floats(self.list(room, count, |r| Ok(f32::from_le_bytes(r.take(key)?)))?),
            12 => Value::Floats(self.list(room, count, |r| Ok(f64::from_le_bytes(r.take(key)?) as f32))?),
            7 => Value::Bools(self.list(room, count, |r| Ok(r.take::<1>(key)?[0] != 0))?),
            _ => Value::Ints(self.list(room, count, |r| {
                let n = r.integer(kind, key)?;
                i64::try_from(n).map_err(|_| r.damaged(format!("`{key}` holds {n}, which has more than 64 bits")))
            })?),
        })
    }

    fn list<T>(
        &mut self,
        room: usize,
        count: u64,
        read: impl Fn(&mut Self) -> Result<T, GgufError>,
    ) -> Result<Vec<T>, GgufError> {
        let mut list = Vec::with_capacity(room);
        for _ in 0..count {
            list.push(read(self)?);
        }
        Ok(list)
    }

    pub(super) fn string(&mut self, what: &str) -> Result<String, GgufError> {
        let length = self.u64(what)?;
        self.text(length, what)
    }

    fn text(&mut self, length: u64, what: &str) -> Result<String, GgufError> {
        if length > self.left() {
            return Err(self.damaged(format!("`{what}` claims a string of {length} bytes, {} are left", self.left())));
        }
        let end = self.at + length as usize;
        let text = String::from_utf8_lossy(&self.bytes[self.at..end]).into_owned();
        self.at = end;
        Ok(text)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.take(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.take(what).map(u64::from_le_bytes)
    }

    fn take<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let Some(bytes) = self.bytes[self.at..].first_chunk::<N>() else {
            return Err(self.damaged(format!("ends within `{what}`")));
        };
        self.at += N;
        Ok(*bytes)
    }
}
