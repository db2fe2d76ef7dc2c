//! The header and the metadata, read front to back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use jielong_nn::weights::WeightsError;

use super::{Strings, Value};

/// Longest key, by the format's description.
const LONGEST_KEY: u64 = 65_535;

/// Bytes of memory that metadata and names may take. Gemma's vocabulary of 262 144 needs a third of it.
const ROOM: u64 = 40 << 20;

/// What a pair takes besides its text or array.
const PAIR: u64 = 128;

/// The bytes of a file and how far they were read.
pub(super) struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
    /// Bytes of memory that may still be taken.
    room: u64,
}

/// Where the values of keys are.
pub(super) type Places = Vec<(String, Range<usize>)>;

/// Counts of the header.
pub(super) struct Header {
    pub tensors: u64,
    pub pairs: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        Self { path, bytes, at: 0, room: ROOM }
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

    pub(super) fn damaged(&self, problem: impl Into<String>) -> WeightsError {
        WeightsError::damaged(self.path, problem)
    }

    pub(super) fn path(&self) -> &Path {
        self.path
    }

    /// Takes room for `bytes` of memory.
    fn charge(&mut self, bytes: u64, what: &str) -> Result<(), WeightsError> {
        match self.room.checked_sub(bytes) {
            Some(room) => {
                self.room = room;
                Ok(())
            }
            None => Err(self.damaged(format!("metadata up to `{what}` takes more than {ROOM} bytes of memory"))),
        }
    }

    pub(super) fn header(&mut self) -> Result<Header, WeightsError> {
        if self.bytes.get(..4) != Some(b"GGUF") {
            return Err(self.damaged("does not begin with `GGUF`"));
        }
        self.at = 4;
        match self.u32("version")? {
            2 | 3 => {}
            version if (1..=3).contains(&version.swap_bytes()) => {
                return Err(self.damaged("is big endian, which is not supported"));
            }
            version => return Err(self.damaged(format!("version {version} is not supported; 2 and 3 are"))),
        }
        let (tensors, pairs) = (self.u64("number of tensors")?, self.u64("number of key-value pairs")?);
        // A pair takes at least 8 + 4 + 1 bytes, a tensor's info 8 + 4 + 8 + 4 + 8.
        for (count, size, what) in [(pairs, 13, "key-value pairs"), (tensors, 32, "tensors")] {
            if count > self.left() / size {
                return Err(self.damaged(format!("claims {count} {what}, which {} bytes cannot hold", self.left())));
            }
        }
        Ok(Header { tensors, pairs })
    }

    /// All pairs by key, and the bytes of each value, its type included, in the order of the file.
    pub(super) fn metadata(&mut self, pairs: u64) -> Result<(BTreeMap<String, Value>, Places), WeightsError> {
        let (mut metadata, mut places) = (BTreeMap::new(), Vec::new());
        for index in 0..pairs {
            let what = format!("key {index}");
            let key = self.name(LONGEST_KEY, &what)?;
            self.charge(PAIR, &key)?;
            let start = self.at;
            let kind = self.u32(&key)?;
            let value = self.value(kind, &key)?;
            places.push((key.clone(), start..self.at));
            if metadata.insert(key.clone(), value).is_some() {
                return Err(self.damaged(format!("`{key}` is there twice")));
            }
        }
        Ok((metadata, places))
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<Value, WeightsError> {
        Ok(match kind {
            6 => Value::Float(f64::from(f32::from_le_bytes(self.take(key)?))),
            12 => Value::Float(f64::from_le_bytes(self.take(key)?)),
            7 => Value::Bool(self.take::<1>(key)?[0] != 0),
            8 => Value::String(self.text(key)?.into_owned()),
            9 => self.array(key)?,
            _ => Value::Int(self.integer(kind, key)?),
        })
    }

    fn integer(&mut self, kind: u32, key: &str) -> Result<i128, WeightsError> {
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

    fn array(&mut self, key: &str) -> Result<Value, WeightsError> {
        let (kind, count) = (self.u32(key)?, self.u64(key)?);
        // Bytes of an entry in the file, at least, and in memory.
        let (stored, held) = match kind {
            0 | 1 => (1, 8),
            2 | 3 => (2, 8),
            4 | 5 => (4, 8),
            6 => (4, 4),
            7 => (1, 1),
            8 => (8, 4),
            10 | 11 => (8, 8),
            12 => (8, 4),
            9 => return Err(self.damaged(format!("`{key}` is an array of arrays, which is not supported"))),
            _ => return Err(self.damaged(format!("`{key}` is an array of the unknown type {kind}"))),
        };
        if count > self.left() / stored {
            let problem = format!("`{key}` claims {count} entries, which {} bytes cannot hold", self.left());
            return Err(self.damaged(problem));
        }
        self.charge(count * held, key)?;
        Ok(match kind {
            8 => {
                let mut list = Strings::with_room(count as usize);
                for _ in 0..count {
                    list.push(&self.text(key)?);
                }
                Value::Strings(list)
            }
            6 => Value::Floats(self.list(count, |r| Ok(f32::from_le_bytes(r.take(key)?)))?),
            12 => Value::Floats(self.list(count, |r| Ok(f64::from_le_bytes(r.take(key)?) as f32))?),
            7 => Value::Bools(self.list(count, |r| Ok(r.take::<1>(key)?[0] != 0))?),
            _ => Value::Ints(self.list(count, |r| {
                let n = r.integer(kind, key)?;
                i64::try_from(n).map_err(|_| r.damaged(format!("`{key}` holds {n}, which does not fit 64 signed bits")))
            })?),
        })
    }

    fn list<T>(
        &mut self,
        count: u64,
        read: impl Fn(&mut Self) -> Result<T, WeightsError>,
    ) -> Result<Vec<T>, WeightsError> {
        let mut list = Vec::with_capacity(count as usize);
        for _ in 0..count {
            list.push(read(self)?);
        }
        Ok(list)
    }

    /// The name of a key or a tensor, `longest` bytes at most.
    pub(super) fn name(&mut self, longest: u64, what: &str) -> Result<String, WeightsError> {
        let length = self.bytes[self.at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        if let Some(length) = length.filter(|&length| length > longest) {
            return Err(self.damaged(format!("{what} has {length} bytes, at most {longest} are allowed")));
        }
        self.text(what).map(Cow::into_owned)
    }

    /// A length and a string; what is not UTF-8 is replaced.
    fn text(&mut self, what: &str) -> Result<Cow<'a, str>, WeightsError> {
        let length = self.u64(what)?;
        if length > self.left() {
            return Err(self.damaged(format!("`{what}` claims a string of {length} bytes, {} are left", self.left())));
        }
        // Each byte that is replaced becomes three; text that grows takes twice its room.
        self.charge(length.saturating_mul(2), what)?;
        let end = self.at + length as usize;
        let bytes: &'a [u8] = &self.bytes[self.at..end];
        self.at = end;
        Ok(String::from_utf8_lossy(bytes))
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, WeightsError> {
        self.take(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, WeightsError> {
        self.take(what).map(u64::from_le_bytes)
    }

    fn take<const N: usize>(&mut self, what: &str) -> Result<[u8; N], WeightsError> {
        let Some(bytes) = self.bytes[self.at..].first_chunk::<N>() else {
            return Err(self.damaged(format!("ends within `{what}`")));
        };
        self.at += N;
        Ok(*bytes)
    }
}
