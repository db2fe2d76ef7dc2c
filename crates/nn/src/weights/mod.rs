//! Weights in memory-mapped files: named, typed, shaped slices, checked before anything is computed.
//!
//! [`Weights::open_safetensors`] reads the header of one file or of all shards of a folder, [`Weights::open_torch`] a file of
//! `torch.save`; the GGUF reader fills the same [`Weights`]. A [`TensorView`] keeps its file mapped and is cheap to clone.

mod header;
mod names;
mod shards;
mod torch;

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jielong_kernels::{Dtype, MappedFile, dequantize};
use rayon::prelude::*;

/// Values that are expanded by one task; whole blocks of every type.
const TASK: usize = 1 << 18;

/// Why a file of weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The system cannot read it.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is damaged, or not what it should be.
    #[error("{path}:{}", lines(problems))]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// Everything that is wrong: what was found and what was expected.
        problems: Vec<String>,
    },
    /// A tensor that holds no weights where weights are needed.
    #[error("{path}: `{name}` has type {found}, which is not one of weights")]
    NotWeights {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The type found.
        found: String,
    },
}

impl WeightsError {
    /// One thing that is wrong in a file.
    pub fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_path_buf(), problems: vec![problem.into()] }
    }
}

/// One problem on the same line, several on a line each.
fn lines(problems: &[String]) -> String {
    match problems {
        [problem] => format!(" {problem}"),
        _ => problems.iter().map(|problem| format!("\n  {problem}")).collect(),
    }
}

/// How a tensor's values are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// As weights of this type.
    Weights(Dtype),
    /// As something else, under this name: integers, booleans.
    Other(String),
}

/// One tensor of a mapped file.
#[derive(Clone, Debug)]
pub struct TensorView {
    name: String,
    stored: Stored,
    shape: Vec<usize>,
    file: Arc<MappedFile>,
    range: Range<usize>,
}

impl TensorView {
    /// A tensor at `range` of the file. The reader of the format has checked that the range lies in the file and fits type
    /// and shape.
    pub fn new(name: String, stored: Stored, shape: Vec<usize>, file: Arc<MappedFile>, range: Range<usize>) -> Self {
        Self { name, stored, shape, file, range }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its dimensions, row-major, the slowest first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type of its weights; none if it holds something else.
    pub fn dtype(&self) -> Option<Dtype> {
        match self.stored {
            Stored::Weights(dtype) => Some(dtype),
            Stored::Other(_) => None,
        }
    }

    /// The type of its weights.
    ///
    /// # Errors
    /// [`WeightsError::NotWeights`].
    pub fn weights(&self) -> Result<Dtype, WeightsError> {
        match &self.stored {
            Stored::Weights(dtype) => Ok(*dtype),
            Stored::Other(found) => {
                let (path, name) = (self.path().to_path_buf(), self.name.clone());
                Err(WeightsError::NotWeights { path, name, found: found.clone() })
            }
        }
    }

    /// The file it lies in.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its bytes as stored.
    pub fn bytes(&self) -> &[u8] {
        self.as_ref()
    }

    /// Its bytes as stored, keeping the file mapped, without a copy.
    pub fn shared_bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// Lets go of the memory of its bytes, which are read from the file again when they are touched.
    pub fn release(&self) {
        self.file.release(self.range.clone());
    }

    /// Its values, expanded.
    ///
    /// # Errors
    /// [`WeightsError::NotWeights`].
    pub fn to_f32(&self) -> Result<Vec<f32>, WeightsError> {
        let dtype = self.weights()?;
        let mut values = vec![0.0; self.shape.iter().product()];
        let size = TASK / dtype.block_len() * dtype.block_bytes();
        values
            .par_chunks_mut(TASK)
            .zip(self.bytes().par_chunks(size))
            .try_for_each(|(values, bytes)| dequantize(dtype, bytes, values))
            .map_err(|e| WeightsError::damaged(self.path(), format!("`{}`: {e}", self.name)))?;
        Ok(values)
    }
}

impl AsRef<[u8]> for TensorView {
    fn as_ref(&self) -> &[u8] {
        &self.file.as_ref().as_ref()[self.range.clone()]
    }
}

/// Tensors by name.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    tensors: BTreeMap<String, TensorView>,
}

impl Weights {
    /// Opens a file of `torch.save`, known by how it begins, or anything of safetensors.
    ///
    /// # Errors
    /// As [`open_torch`](Self::open_torch) and [`open_safetensors`](Self::open_safetensors).
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let begins = || -> std::io::Result<[u8; 4]> {
            let mut bytes = [0; 4];
            std::fs::File::open(path)?.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        match begins() {
            Ok(bytes) if path.is_file() && bytes == *b"PK\x03\x04" => Self::open_torch(path),
            _ => Self::open_safetensors(path),
        }
    }

    /// Opens a safetensors file, or a folder with `model.safetensors` or with `model.safetensors.index.json` and its shards.
    ///
    /// # Errors
    /// [`WeightsError`]: the file, and what is wrong in it.
    pub fn open_safetensors(path: &Path) -> Result<Self, WeightsError> {
        if path.is_dir() { shards::open(path) } else { header::open(path) }
    }

    /// Opens a file of `torch.save` (`.pt`, `.pth`): a dict of tensors, or one such dict in a dict.
    ///
    /// Nothing in it is ever run, and nothing is copied: tensors must be contiguous.
    ///
    /// # Errors
    /// [`WeightsError`]: the file, and what is wrong in it.
    pub fn open_torch(path: &Path) -> Result<Self, WeightsError> {
        torch::open(path)
    }

    /// Adds a tensor.
    ///
    /// # Errors
    /// The tensor itself, if its name is taken.
    pub fn insert(&mut self, tensor: TensorView) -> Result<(), TensorView> {
        match self.tensors.entry(tensor.name.clone()) {
            std::collections::btree_map::Entry::Occupied(_) => Err(tensor),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(tensor);
                Ok(())
            }
        }
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&TensorView> {
        self.tensors.get(name)
    }

    /// All names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// All tensors, by name.
    pub fn iter(&self) -> impl Iterator<Item = &TensorView> {
        self.tensors.values()
    }
}
