//! Prints the speed of [`dequantize`] for every type, on one core, beside that of a copy to the same memory.
//!
//!     cargo run --release -p jielong-kernels --example dequantize_speed

use std::hint::black_box;
use std::time::Instant;

use jielong_kernels::{Dtype, KernelError, dequantize};

/// Values of a round: 64 MiB of f32, more than a cache holds.
const VALUES: usize = 1 << 24;
const ROUNDS: usize = 5;

fn main() -> Result<(), KernelError> {
    let mut out = vec![0.0f32; VALUES];
    let source = vec![1.0f32; VALUES];
    let copy = best(|| {
        black_box(&mut out[..]).copy_from_slice(black_box(&source));
        Ok(())
    })?;
    println!("copy  {copy:6.2} GB/s of f32");
    for dtype in Dtype::ALL {
        let size = VALUES / dtype.block_len() * dtype.block_bytes();
        let mut bytes: Vec<u8> = (0..size).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
            block[1] &= 0x3f; // the scale, or what is in its place: a finite number
        }
        let speed = best(|| dequantize(dtype, black_box(&bytes), black_box(&mut out)))?;
        println!("{dtype:5} {speed:6.2} GB/s of f32");
    }
    Ok(())
}

/// GB/s of output in the fastest round.
fn best(mut round: impl FnMut() -> Result<(), KernelError>) -> Result<f64, KernelError> {
    let mut seconds = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        round()?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    Ok(VALUES as f64 * 4.0 / 1e9 / seconds)
}
