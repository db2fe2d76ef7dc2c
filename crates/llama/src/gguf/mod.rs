//! GGUF files, versions 2 and 3, little endian: metadata by key, tensors as [`Weights`].
//!
//! Source: the format's description, `docs/gguf.md` of ggml. `"GGUF"`, version, counts; key-value pairs; tensor infos; padding
//! to the alignment; data. Every count and length is checked against what is left of the file before anything is allocated
//! for it.

mod reader;
mod tensors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jielong_kernels::MappedFile;
use jielong_nn::weights::Weights;

use reader::Reader;

/// Why a GGUF file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The system cannot read it.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is damaged, or not what it should be.
    #[error("{path}: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        problem: String,
    },
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
    /// Tensors of types that are not known here.
    #[error("{path}: unsupported tensor types:\n  {}", tensors.join("\n  "))]
    Types {
        /// The file.
        path: PathBuf,
        /// The tensors with their types.
        tensors: Vec<String>,
    },
}

/// A metadata value; integers and floats of all widths become one each.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any integer.
    Int(i128),
    /// f32 or f64.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string; what is not UTF-8 is replaced.
    String(String),
    /// An array of integers.
    Ints(Vec<i64>),
    /// An array of floats.
    Floats(Vec<f32>),
    /// An array of booleans.
    Bools(Vec<bool>),
    /// An array of strings.
    Strings(Vec<String>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a boolean",
            Self::String(_) => "a string",
            Self::Ints(_) => "an array of integers",
            Self::Floats(_) => "an array of floats",
            Self::Bools(_) => "an array of booleans",
            Self::Strings(_) => "an array of strings",
        }
    }
}

/// An open GGUF file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    metadata: BTreeMap<String, Value>,
    weights: Weights,
}

impl Gguf {
    /// Maps a file and reads its metadata and the places of its tensors.
    ///
    /// # Errors
    /// [`GgufError`]: the file and the key, tensor or count that is wrong.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let file =
            MappedFile::open(path).map_err(|source| GgufError::Read { path: path.to_path_buf(), source })?;
        let file = Arc::new(file);
        let mut reader = Reader::new(path, file.as_ref().as_ref());
        let header = reader.header()?;
        let metadata = reader.metadata(header.pairs)?;
        let weights = tensors::read(&mut reader, header.tensors, &metadata, &file)?;
        Ok(Self { path: path.to_path_buf(), metadata, weights })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All metadata, by key.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
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
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>, GgufError> {
        self.typed(key, "an array of strings", |v| match v {
            Value::Strings(list) => Some(list.as_slice()),
            Value::Ints(list) if list.is_empty() => Some(&[][..]),
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
