//! Metadata and tensors → a GGUF file of version 3.

use jielong_kernels::Cpu;
use jielong_nn::write::{Rewrite, Sink, WriteError};

use super::tensors;

/// Bytes that every tensor's place is a multiple of.
const ALIGNMENT: u64 = 32;

/// A key and its value, as the file holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    key: String,
    /// Type and value.
    value: Vec<u8>,
}

impl Pair {
    /// A value as another file stores it.
    pub(super) fn stored(key: &str, value: &[u8]) -> Self {
        Self { key: key.into(), value: value.into() }
    }

    fn of(key: impl Into<String>, kind: u32, value: &[u8]) -> Self {
        Self { key: key.into(), value: [&kind.to_le_bytes(), value].concat() }
    }

    /// A 32-bit unsigned integer.
    pub fn u32(key: impl Into<String>, n: u32) -> Self {
        Self::of(key, 4, &n.to_le_bytes())
    }

    /// A 32-bit float.
    pub fn f32(key: impl Into<String>, x: f64) -> Self {
        Self::of(key, 6, &(x as f32).to_le_bytes())
    }

    /// A boolean.
    pub fn bool(key: impl Into<String>, on: bool) -> Self {
        Self::of(key, 7, &[u8::from(on)])
    }

    /// A string.
    pub fn string(key: impl Into<String>, text: &str) -> Self {
        let mut value = Vec::new();
        put_string(&mut value, text);
        Self::of(key, 8, &value)
    }

    fn list<T>(key: impl Into<String>, kind: u32, list: &[T], put: impl Fn(&mut Vec<u8>, &T)) -> Self {
        let mut value = kind.to_le_bytes().to_vec();
        value.extend((list.len() as u64).to_le_bytes());
        list.iter().for_each(|entry| put(&mut value, entry));
        Self::of(key, 9, &value)
    }

    /// An array of 32-bit signed integers.
    pub fn i32s(key: impl Into<String>, list: &[i32]) -> Self {
        Self::list(key, 5, list, |out, n| out.extend(n.to_le_bytes()))
    }

    /// An array of 32-bit floats.
    pub fn f32s(key: impl Into<String>, list: &[f32]) -> Self {
        Self::list(key, 6, list, |out, x| out.extend(x.to_le_bytes()))
    }

    /// An array of strings.
    pub fn strings(key: impl Into<String>, list: &[String]) -> Self {
        Self::list(key, 8, list, |out, text| put_string(out, text))
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Writes the file.
///
/// # Errors
/// [`WriteError`]; what was written until then stays.
pub fn write(pairs: &[Pair], tensors: &[Rewrite], cpu: &Cpu, mut sink: Sink) -> Result<(), WriteError> {
    let mut header = b"GGUF".to_vec();
    header.extend(3u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((pairs.len() as u64).to_le_bytes());
    for pair in pairs {
        put_string(&mut header, &pair.key);
        header.extend(&pair.value);
    }
    let mut offset = 0u64;
    for tensor in tensors {
        put_string(&mut header, tensor.name());
        header.extend((tensor.shape().len() as u32).to_le_bytes());
        tensor.shape().iter().rev().for_each(|&n| header.extend((n as u64).to_le_bytes()));
        header.extend(tensors::kind(tensor.written()).to_le_bytes());
        header.extend(offset.to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    sink.write(&header)?;
    for tensor in tensors {
        sink.pad(ALIGNMENT)?;
        tensor.write(cpu, &mut sink)?;
    }
    sink.pad(ALIGNMENT)?;
    sink.finish()
}
