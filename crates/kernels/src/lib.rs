//! CPU kernels for packed weights: GGML's block layouts, their expansion to f32, and files mapped into memory.
//!
//! `unsafe` lives in this crate alone, behind safe functions.

mod dtype;
mod mapped;
mod quant;

pub use dtype::Dtype;
pub use mapped::MappedFile;
pub use quant::{KernelError, dequantize};
