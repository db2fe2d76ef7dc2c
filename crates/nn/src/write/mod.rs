//! Stored tensors → another file, in other types and another order of rows, a few megabytes at a time.
//!
//! [`Rewrite`] is one tensor to be written, [`Sink`] the file it goes to; [`safetensors`] and the GGUF writer put them under
//! their headers. A writer is given a path of its own: moving a file that is whole to its place is the caller's.

pub mod safetensors;

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jielong_kernels::{Cpu, Dtype, KernelError, dequantize, quantize};

use crate::weights::{TensorView, WeightsError};

/// Bytes that are made before they are written.
const PORTION: usize = 4 << 20;

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What was to be rewritten cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The system cannot write it.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was asked to stop.
    #[error("stopped; nothing was written")]
    Stopped,
}

/// A tensor as it is to be written.
#[derive(Clone, Debug)]
pub struct Rewrite {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    /// What it is made of, and the file and the tensor that this is.
    stored: Bytes,
    origin: (PathBuf, String),
    from: Dtype,
    first_row: usize,
    /// Which of the rows comes in each place; all in their order if empty.
    order: Vec<usize>,
    plus: f32,
}

impl Rewrite {
    /// A whole tensor as it is stored.
    ///
    /// # Errors
    /// [`WeightsError::NotWeights`].
    pub fn new(name: impl Into<String>, view: &TensorView) -> Result<Self, WeightsError> {
        let origin = (view.path().to_path_buf(), view.name().to_owned());
        Ok(Self::of(name.into(), view.shape().to_vec(), view.weights()?, view.shared_bytes(), origin))
    }

    /// Values that are in no file.
    ///
    /// # Panics
    /// If they are not as many as the shape has.
    pub fn made(name: &str, shape: &[usize], values: &[f32]) -> Self {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "values of {shape:?}");
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::of(name.into(), shape.to_vec(), Dtype::F32, bytes.into(), (PathBuf::new(), name.into()))
    }

    fn of(name: String, shape: Vec<usize>, from: Dtype, stored: Bytes, origin: (PathBuf, String)) -> Self {
        Self { name, dtype: from, shape, stored, origin, from, first_row: 0, order: Vec::new(), plus: 0.0 }
    }

    /// In this type, or the one that takes its place where rows are not whole blocks of it.
    pub fn dtype(mut self, dtype: Dtype) -> Self {
        self.dtype = dtype.fitting(self.width());
        self
    }

    /// Only these rows.
    pub fn rows(mut self, rows: Range<usize>) -> Self {
        self.first_row = rows.start;
        self.shape[0] = rows.len();
        self
    }

    /// Row `row(i)` of those that are written comes `i`-th.
    pub fn order(mut self, row: impl Fn(usize) -> usize) -> Self {
        self.order = (0..self.shape[0]).map(row).collect();
        self
    }

    /// With `plus` added to each value.
    pub fn plus(mut self, plus: f32) -> Self {
        self.plus = plus;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type in the new file.
    pub fn written(&self) -> Dtype {
        self.dtype
    }

    /// Its dimensions, the slowest first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> u64 {
        (self.shape[0] * self.row_bytes()) as u64
    }

    fn width(&self) -> usize {
        self.shape[1..].iter().product()
    }

    fn row_bytes(&self) -> usize {
        self.dtype.bytes(self.width()).unwrap_or_default()
    }

    /// Rows `first ..`, as many as `out` holds.
    fn fill(&self, cpu: &Cpu, first: usize, out: &mut [u8]) -> Result<(), WeightsError> {
        let width = self.width();
        let size = self.from.bytes(width).unwrap_or_default();
        let work = |row: usize, out: &mut [u8]| -> Result<(), KernelError> {
            let row = self.order.get(first + row).copied().unwrap_or(first + row);
            let stored = &self.stored[(self.first_row + row) * size..][..size];
            if self.from == self.dtype && self.plus == 0.0 {
                out.copy_from_slice(stored);
                return Ok(());
            }
            let mut values = vec![0.0; width];
            dequantize(self.from, stored, &mut values)?;
            values.iter_mut().for_each(|value| *value += self.plus);
            quantize(self.dtype, &values, out)
        };
        cpu.rows(out, self.row_bytes(), work)
            .map_err(|e| WeightsError::damaged(&self.origin.0, format!("`{}`: {e}", self.origin.1)))
    }

    /// All of it, in memory.
    ///
    /// # Errors
    /// Values that the type cannot hold.
    pub fn to_bytes(&self, cpu: &Cpu) -> Result<Vec<u8>, WeightsError> {
        let mut out = vec![0; self.bytes() as usize];
        self.fill(cpu, 0, &mut out)?;
        Ok(out)
    }

    /// All of it, to a file.
    ///
    /// # Errors
    /// As [`WriteError`].
    pub fn write(&self, cpu: &Cpu, sink: &mut Sink) -> Result<(), WriteError> {
        let size = self.row_bytes();
        let rows = (PORTION / size.max(1)).max(1);
        let mut out = vec![0; rows.min(self.shape[0]) * size];
        for first in (0..self.shape[0]).step_by(rows) {
            let out = &mut out[..rows.min(self.shape[0] - first) * size];
            self.fill(cpu, first, out)?;
            sink.write(out)?;
        }
        Ok(())
    }
}

/// A file that is being written. Nothing of it counts before [`Sink::finish`].
pub struct Sink<'a> {
    path: &'a Path,
    file: File,
    at: u64,
    /// Hears of the bytes written; says whether to go on.
    progress: &'a mut dyn FnMut(usize) -> bool,
}

impl<'a> Sink<'a> {
    /// Makes a file, or empties one.
    ///
    /// # Errors
    /// [`WriteError::Write`].
    pub fn create(path: &'a Path, progress: &'a mut dyn FnMut(usize) -> bool) -> Result<Self, WriteError> {
        let file = File::create(path).map_err(|source| WriteError::Write { path: path.into(), source })?;
        Ok(Self { path, file, at: 0, progress })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`WriteError::Write`] and [`WriteError::Stopped`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.file.write_all(bytes).map_err(|source| self.failed(source))?;
        self.at += bytes.len() as u64;
        if (self.progress)(bytes.len()) { Ok(()) } else { Err(WriteError::Stopped) }
    }

    /// Appends zeros up to a multiple of `alignment`.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub fn pad(&mut self, alignment: u64) -> Result<(), WriteError> {
        let missing = self.at.next_multiple_of(alignment) - self.at;
        self.write(&vec![0; missing as usize])
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// [`WriteError::Write`].
    pub fn finish(self) -> Result<(), WriteError> {
        self.file.sync_all().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> WriteError {
        WriteError::Write { path: self.path.into(), source }
    }
}
