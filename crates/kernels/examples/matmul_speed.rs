//! Speed of products with packed weights, beside a plain read of the same bytes in turn.
//!
//! `cargo run --release -p jielong-kernels --example matmul_speed -- [threads] [stored|turned] [baseline|dot|avx2|avx512|bf16|best] [type|all] [columns]`

#![allow(missing_docs)]

use std::time::Instant;

use jielong_kernels::{Cpu, Dtype, Isa, Matrix, Rows, keep_memory, matmul, read_time};

fn main() {
    keep_memory();
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    let isa = match std::env::args().nth(3).as_deref() {
        Some("baseline") => Some(Isa::Baseline),
        Some("dot") => Some(Isa::Dot),
        Some("avx2") => Some(Isa::Avx2),
        Some("avx512") => Some(Isa::Avx512),
        Some("bf16") => Some(Isa::Avx512Bf16),
        _ => None,
    };
    let Some(cpu) = isa.map_or_else(|| Some(Cpu::new(threads)), |isa| Cpu::with_isa(threads, isa)) else {
        return println!("this processor does not have these instructions");
    };
    let turned = std::env::args().nth(2).is_some_and(|form| form == "turned");
    println!("{} on {} threads", cpu.isa(), cpu.threads());
    println!(
        "{:5} {:>10} {:>8} {:>8} {:>10} {:>12} {:>12} {:>8}",
        "type", "GB/s", "of read", "MB", "in cache", "GFLOP/s, 8", "GFLOP/s, 512", "turned"
    );
    let only = std::env::args().nth(4);
    let columns: usize = std::env::args().nth(5).and_then(|n| n.parse().ok()).unwrap_or(2048);
    let wanted = |dtype: &Dtype| only.as_deref().is_none_or(|only| only == "all" || only == dtype.name());
    for dtype in Dtype::ALL.into_iter().filter(wanted) {
        // As in a model of 1 B, if not said otherwise: rows of 2048 values, more of them than any cache holds.
        let rows = (8192 * 8 * 2048 / columns).next_multiple_of(16);
        let Some(len) = dtype.bytes(rows * columns) else { continue };
        // Halves and singles of a usual size, wherever a type has them: 0x2c.. as f16 is about 0.07, 0x3c.. as bf16 0.01.
        let upper = if dtype == Dtype::F16 || dtype.block_len() > 1 { 0x2c } else { 0x3c };
        let bytes: Vec<u8> = (0..len).map(|i| if i % 2 == 1 { upper } else { ((i * 40_503) >> 7) as u8 }).collect();
        let Ok(matrix) = Matrix::new(dtype, [rows, columns], Rows::AsStored, bytes.into()) else { continue };
        let form = |matrix: Matrix| if turned { matrix.turned(&cpu) } else { matrix };
        let (cached, small) = (
            form(sized(&matrix, 256 * cpu.threads())),
            form(sized(&matrix, (8192 * 2048 / columns).next_multiple_of(16))),
        );
        let start = Instant::now();
        let matrix = form(matrix);
        let turning = start.elapsed().as_secs_f64();
        let (mut one, mut read) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..15 {
            read = read.min(read_time(&cpu, &[matrix.bytes()]).as_secs_f64());
            one = one.min(time(&cpu, &matrix, 1, 1));
        }
        // What the instructions alone allow: weights that stay in the second cache.
        let fast = cached.bytes().len() as f64 / time(&cpu, &cached, 1, 300);
        let (eight, many) = (time(&cpu, &small, 8, 9), time(&cpu, &small, 512, 5));
        let flops = |n: usize, seconds: f64| 2.0 * (small.shape()[0] * columns * n) as f64 / seconds / 1e9;
        println!(
            "{:5} {:10.1} {:7.0}% {:8.0} {:10.1} {:12.0} {:12.0} {:6.1}",
            dtype.name(),
            len as f64 / one / 1e9,
            read / one * 100.0,
            len as f64 / 1e6,
            fast / 1e9,
            flops(8, eight),
            flops(512, many),
            len as f64 / turning / 1e9,
        );
    }
}

/// The first rows of a matrix.
fn sized(matrix: &Matrix, rows: usize) -> Matrix {
    let len = matrix.bytes().len() / matrix.shape()[0] * rows;
    let bytes = matrix.bytes()[..len].to_vec();
    Matrix::new(matrix.dtype(), [rows, matrix.shape()[1]], Rows::AsStored, bytes.into())
        .unwrap_or_else(|_| matrix.clone())
}

/// Seconds of the fastest of several runs with `n` columns.
fn time(cpu: &Cpu, matrix: &Matrix, n: usize, runs: usize) -> f64 {
    let x: Vec<f32> = (0..n * matrix.shape()[1]).map(|i| (i % 17) as f32 - 8.0).collect();
    let run = |_| {
        let start = Instant::now();
        std::hint::black_box(matmul(cpu, &x, &[matrix]));
        start.elapsed().as_secs_f64()
    };
    (0..runs).map(run).fold(f64::INFINITY, f64::min)
}
