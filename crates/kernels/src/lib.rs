//! CPU kernels for packed weights: GGML's block layouts, their expansion to f32, products with them as they are stored,
//! and files mapped into memory.
//!
//! `unsafe` lives in this crate alone, behind safe functions. Loops over lanes are written with their index: they read like
//! the registers they become.

#![allow(clippy::needless_range_loop)]
// Forms of inputs that only instructions of x86 take.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

mod allocator;
#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bandwidth;
mod conv;
mod cpu;
mod cross_entropy;
pub mod dense;
mod dtype;
mod foresight;
mod group_norm;
mod lanes;
mod layers;
mod mapped;
mod math;
mod matmul;
#[cfg(target_arch = "aarch64")]
mod neon;
mod optimiser;
mod pool;
mod quant;
mod quantize;
mod shared;
#[cfg(test)]
mod testing;

pub use allocator::keep_memory;
pub use attention::{
    Attended, AttendedGradients, Attention, AttentionWithin, CacheType, KvStore, UnknownCacheType, attend,
};
pub use bandwidth::read_time;
pub use conv::{Along, Conv2d, Factors, Filter};
pub use cpu::{Cpu, Isa, default_threads};
pub use cross_entropy::{log_sum_exp, probabilities};
pub use dtype::{Dtype, UnknownDtype};
pub use group_norm::GroupNorm;
pub use layers::{
    Gate, add, gated, gelu, gelu_gradients, rms_norm, rms_norm_gradients, rms_norm_rows, rotate, rotate_positions,
    silu_gated, silu_gated_gradients, snake, snake_gradients,
};
pub use mapped::MappedFile;
pub use matmul::rows::Rows;
pub use matmul::{Layout, Matrix, matmul};
pub use optimiser::{AdamWStep, moving_mean, sum_of_squares};
pub use quant::{KernelError, dequantize};
pub use quantize::quantize;
