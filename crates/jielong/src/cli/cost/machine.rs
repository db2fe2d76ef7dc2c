//! How fast this machine reads and multiplies, measured.

use std::hint::black_box;
use std::time::Instant;

use jielong_core::cost::Speed;
use jielong_kernels::{Cpu, Dtype, Layout, Matrix, matmul, read_time};
use jielong_llama::{Config, Llama};
use jielong_nn::load::random_matrix;
use serde::Serialize;

use super::super::bench::median;

/// Columns of the product that the rate is measured with: as many as tokens in a chunk of a prompt.
const COLUMNS: usize = 512;
/// The most bytes that are read where no model is in memory.
const MOST: u64 = 1 << 30;
/// Runs of each measurement; one before them is for warmth.
const RUNS: usize = 5;

/// What the processor does in a second.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub threads: usize,
    pub instructions: String,
    /// Of plain reads.
    pub bandwidth_bytes_per_second: f64,
    /// Of products of the matrices of a layer with many columns.
    pub flops_per_second: f64,
}

impl Machine {
    /// With the weights of a model; `None` if a card computes.
    pub fn with(model: &Llama, cpu: Option<&Cpu>) -> Option<Self> {
        let (cpu, config) = (cpu?, model.config());
        let matrices = model.matrices();
        let layer = config.layers.first().map_or(0, |layer| config.layer_matrices(layer).len());
        let weights: Vec<&[u8]> = matrices.iter().map(|matrix| matrix.bytes()).collect();
        Some(Self::measure(cpu, &weights, &matrices[..layer.min(matrices.len())]))
    }

    /// With as many bytes as a step reads, and random matrices of the sizes of a layer.
    pub fn without(config: &Config, dtype: Dtype, layout: Layout, bytes: u64, cpu: &Cpu) -> Self {
        let memory = vec![1u8; bytes.clamp(1, MOST) as usize];
        let layer = config.layers.first().map(|layer| config.layer_matrices(layer)).unwrap_or_default();
        let matrices: Vec<Matrix> = layer.into_iter().map(|shape| random_matrix(shape, dtype, layout, cpu)).collect();
        Self::measure(cpu, &[&memory], &matrices.iter().collect::<Vec<_>>())
    }

    fn measure(cpu: &Cpu, memory: &[&[u8]], matrices: &[&Matrix]) -> Self {
        let bytes: usize = memory.iter().map(|part| part.len()).sum();
        let (threads, instructions) = (cpu.threads(), cpu.isa().to_string());
        let read = || bytes as f64 / read_time(cpu, memory).as_secs_f64().max(1e-9);
        let multiply = || flops_per_second(cpu, matrices);
        Self { threads, instructions, bandwidth_bytes_per_second: repeated(read), flops_per_second: repeated(multiply) }
    }

    pub fn speed(&self) -> Speed {
        Speed { bandwidth: self.bandwidth_bytes_per_second, flops: self.flops_per_second }
    }
}

/// The median of some runs.
fn repeated(mut run: impl FnMut() -> f64) -> f64 {
    let rates: Vec<f64> = (0..=RUNS).map(|_| run()).skip(1).collect();
    median(&rates)
}

/// One product with each of the matrices.
fn flops_per_second(cpu: &Cpu, matrices: &[&Matrix]) -> f64 {
    let (mut flops, mut seconds) = (0.0, 0.0);
    for matrix in matrices {
        let [rows, width] = matrix.shape();
        let x = vec![0.5; COLUMNS * width];
        let start = Instant::now();
        black_box(matmul(cpu, &x, &[matrix]));
        seconds += start.elapsed().as_secs_f64();
        flops += 2.0 * (COLUMNS * width * rows) as f64;
    }
    flops / seconds.max(1e-9)
}
