//! GGUF files, versions 2 and 3, little endian: metadata by key, tensors as [`Weights`].
//!
//! Source: the format's description, `docs/gguf.md` of ggml. `"GGUF"`, version, counts; key-value pairs; tensor infos; padding
//! to the alignment; data. Every count and length is checked against what is left of the file, and against what metadata may
//! take, before anything is allocated for it. A model in several files (`…-00001-of-00003.gguf`) is opened by its first.

mod reader;
mod split;
mod tensors;
mod value;
pub mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jielong_kernels::MappedFile;
use jielong_nn::weights::{Weights, WeightsError};

use reader::{Places, Reader};
pub use value::{Strings, Value};
use writer::Pair;

/// Why a GGUF file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// It cannot be read, is damaged, or not what it should be.
    #[error(transparent)]
    File(#[from] WeightsError),
    /// A key holds another type.
    #[error("{path}: `{key}` is {found}, expected {expected}")]
    Type {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The type found.
        found: &'static str,
        /// The type expected.
        expected: &'static str,
    },
}

/// An open GGUF file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    file: Arc<MappedFile>,
    pairs: Places,
    metadata: BTreeMap<String, Value>,
    weights: Weights,
}

impl Gguf {
    /// Maps a file, or all files of a split model by its first, and reads the metadata and the places of the tensors.
    ///
    /// # Errors
    /// [`GgufError`]: the file, and the key, tensors or count that is wrong.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let mut first = Self::open_one(path)?;
        split::join(&mut first)?;
        Ok(first)
    }

    /// Reads one file, whole or a part.
    fn open_one(path: &Path) -> Result<Self, GgufError> {
        let read = |source| WeightsError::Read { path: path.to_path_buf(), source };
        let file = Arc::new(MappedFile::open(path).map_err(read)?);
        let mut reader = Reader::new(path, file.as_ref().as_ref());
        let header = reader.header()?;
        let (metadata, pairs) = reader.metadata(header.pairs)?;
        let weights = tensors::read(&mut reader, header.tensors, &metadata, &file)?;
        Ok(Self { path: path.to_path_buf(), file, pairs, metadata, weights })
    }

    /// The file; the first one of a split model.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All metadata, by key.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// All metadata as it is stored, in the order of the file.
    pub fn pairs(&self) -> impl Iterator<Item = Pair> {
        let bytes: &[u8] = self.file.as_ref().as_ref();
        self.pairs.iter().map(|(key, place)| Pair::stored(key, &bytes[place.clone()]))
    }

    /// All tensors, shapes in the order of Hugging Face: rows first.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| GgufError::Type {
            path: self.path.clone(),
            key: key.into(),
            found: value.kind(),
            expected,
        })
    }

    /// A string, if the key is there.
    ///
    /// # Errors
    /// [`GgufError::Type`], as all getters.
    pub fn string(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.typed(key, "a string", |v| if let Value::String(s) = v { Some(s.as_str()) } else { None })
    }

    /// A whole number, if the key is there.
    ///
    /// # Errors
    /// As [`Gguf::string`]; a negative number is one too.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.typed(key, "a whole number ≥ 0", |v| if let Value::Int(n) = v { u64::try_from(*n).ok() } else { None })
    }

    /// A number, if the key is there.
    ///
    /// # Errors
    /// As [`Gguf::string`].
    pub fn f64(&self, key: &str) -> Result<Option<f64>, GgufError> {
        self.typed(key, "a number", |v| match v {
            Value::Float(x) => Some(*x),
            Value::Int(n) => Some(*n as f64),
            _ => None,
        })
    }

    /// A boolean, if the key is there.
    ///
    /// # Errors
    /// As [`Gguf::string`].
    pub fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.typed(key, "a boolean", |v| if let Value::Bool(b) = v { Some(*b) } else { None })
    }

    /// Strings, if the key is there.
    ///
    /// # Errors
    /// As [`Gguf::string`].
    pub fn strings(&self, key: &str) -> Result<Option<&Strings>, GgufError> {
        self.typed(key, "an array of strings", |v| match v {
            Value::Strings(list) => Some(list),
            Value::Ints(list) if list.is_empty() => Some(Default::default()),
            _ => None,
        })
    }

    /// Floats, if the key is there.
    ///
    /// # Errors
    /// As [`Gguf::string`].
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>, GgufError> {
        self.typed(key, "an array of floats", |v| if let Value::Floats(list) = v { Some(list.clone()) } else { None })
    }

    /// 32-bit integers, if the key is there.
    ///
    /// # Errors
    /// As [`Gguf::string`]; an integer of more than 32 bits is one too.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>, GgufError> {
        self.typed(key, "an array of 32-bit integers", |v| match v {
            Value::Ints(list) => list.iter().map(|&n| i32::try_from(n).ok()).collect(),
            _ => None,
        })
    }
}
