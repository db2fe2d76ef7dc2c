//! The kernels in plain Rust: the definition of every result, compiled for the baseline and for AVX2.
//!
//! An output is a sum in the order of the inner dimension, whatever is computed beside it. Weights in blocks: for each run
//! of 32 values (16 for Q6_K) an exact sum of integers, then
//! `y += scale_w · scale_x · Σ (u − centre)·x` and, for types with a minimum, `y += min_w · Σ x`. Plain weights: sixteen
//! sums of every sixteenth product, of 2048 products at a time; halves of the sums are added until one is left, which is
//! added to the output. All other additions are fused with their product.

use half::{bf16, f16};

use super::columns::{BLOCK, LANES, STEP, Step};
use super::rows::Panel;
use crate::dtype::Dtype;

/// 32 weights of one row: unsigned integers, a scale for each half, what is added to every value.
pub(crate) struct Run {
    pub u: [u8; STEP],
    pub scale: [f32; 2],
    pub min: f32,
}

/// What is taken from the unsigned integers of a type.
pub(crate) const fn centre(dtype: Dtype) -> i32 {
    match dtype {
        Dtype::Q8_0 => 128,
        Dtype::Q4_0 => 8,
        Dtype::Q5_0 => 16,
        Dtype::Q6_K => 32,
        _ => 0,
    }
}

/// Whether the values of a type have a minimum added.
pub(crate) const fn has_min(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::Q4_1 | Dtype::Q5_1 | Dtype::Q4_K | Dtype::Q5_K)
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// 32 values of 4 bits: low halves, then high halves.
#[inline(always)]
fn nibbles(bytes: &[u8]) -> [u8; STEP] {
    std::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
}

#[inline(always)]
fn fifths(bits: &[u8], mut u: [u8; STEP]) -> [u8; STEP] {
    let bits = u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]);
    for (i, u) in u.iter_mut().enumerate() {
        *u |= ((bits >> i) & 1) as u8 * 16;
    }
    u
}

/// Scale and minimum of run `i` of a K block, 6 bits each (`quant` has the layout).
fn scale_and_min(s: &[u8], i: usize) -> (f32, f32) {
    let (scale, min) = if i < 4 {
        (s[i] & 63, s[i + 4] & 63)
    } else {
        ((s[i + 4] & 15) | ((s[i - 4] >> 6) << 4), (s[i + 4] >> 4) | ((s[i] >> 6) << 4))
    };
    (f32::from(scale), f32::from(min))
}

/// Run `i` of a block.
#[inline(always)]
pub(crate) fn run(dtype: Dtype, block: &[u8], i: usize) -> Run {
    let block = &block[..dtype.block_bytes()];
    let d = half_at(block, 0);
    let one = |u, scale, min| Run { u, scale: [scale; 2], min };
    match dtype {
        Dtype::Q8_0 => one(std::array::from_fn(|i| block[2 + i] ^ 128), d, 0.0),
        Dtype::Q4_0 => one(nibbles(&block[2..]), d, 0.0),
        Dtype::Q4_1 => one(nibbles(&block[4..]), d, half_at(block, 2)),
        Dtype::Q5_0 => one(fifths(&block[2..], nibbles(&block[6..])), d, 0.0),
        Dtype::Q5_1 => one(fifths(&block[4..], nibbles(&block[8..])), d, half_at(block, 2)),
        Dtype::Q4_K | Dtype::Q5_K => {
            let (scale, min) = scale_and_min(&block[4..16], i);
            let low = &block[if dtype == Dtype::Q4_K { 16 } else { 48 } + i / 2 * 32..][..32];
            let mut u: [u8; STEP] = std::array::from_fn(|k| (low[k] >> (i % 2 * 4)) & 15);
            if dtype == Dtype::Q5_K {
                for (u, high) in u.iter_mut().zip(&block[16..48]) {
                    *u |= ((high >> i) & 1) * 16;
                }
            }
            one(u, d * scale, -(half_at(block, 2) * min))
        }
        _ => {
            let (half, i) = (i / 4, i % 4);
            let (low, high) = (&block[half * 64 + i % 2 * 32..][..32], &block[128 + half * 32..][..32]);
            let u = std::array::from_fn(|k| ((low[k] >> (i / 2 * 4)) & 15) | (((high[k] >> (i * 2)) & 3) << 4));
            let d = half_at(block, 208);
            let scale = |k: usize| d * f32::from(block[192 + half * 8 + i * 2 + k] as i8);
            Run { u, scale: [scale(0), scale(1)], min: 0.0 }
        }
    }
}

/// Adds the products of a panel's rows with columns in steps, `[step][stride]` from column `first` on, to `out`, one
/// group of rows a column.
#[inline(always)]
pub(crate) fn steps(dtype: Dtype, panel: &Panel, x: &[Step], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    let halves = if dtype == Dtype::Q6_K { 2 } else { 1 };
    let runs = dtype.block_len() / STEP;
    for (index, x) in x.chunks_exact(stride).enumerate() {
        let x = &x[first..first + out.len()];
        for lane in 0..LANES {
            let run = run(dtype, &panel.block(dtype, lane, index / runs), index % runs);
            for (x, out) in x.iter().zip(out.iter_mut()) {
                let mut sums = [0i32; 2];
                for half in 0..2 {
                    for i in half * 16..half * 16 + 16 {
                        let q = i32::from(x.hi[i]) * 256 + i32::from(x.lo[i]);
                        sums[half] += i32::from(run.u[i]) * q;
                    }
                    sums[half] -= centre(dtype) * x.sums[half];
                }
                if halves == 1 {
                    sums[0] += sums[1];
                }
                for half in 0..halves {
                    out[lane] = (sums[half] as f32).mul_add(run.scale[half] * x.scale, out[lane]);
                }
                if has_min(dtype) {
                    out[lane] = run.min.mul_add(x.sum, out[lane]);
                }
            }
        }
    }
}

/// The value `k` of a row of plain weights.
#[inline(always)]
pub(crate) fn value(dtype: Dtype, row: &[u8], k: usize) -> f32 {
    match dtype {
        Dtype::F32 => f32::from_le_bytes([row[4 * k], row[4 * k + 1], row[4 * k + 2], row[4 * k + 3]]),
        Dtype::F16 => half_at(row, 2 * k),
        _ => bf16::from_le_bytes([row[2 * k], row[2 * k + 1]]).to_f32(),
    }
}

/// As [`steps`], for plain weights and columns `[column][stride]`.
#[inline(always)]
pub(crate) fn floats(dtype: Dtype, panel: &Panel, x: &[f32], stride: usize, out: &mut [[f32; LANES]]) {
    let mut w = [0.0; BLOCK];
    for from in (0..panel.columns).step_by(BLOCK) {
        let w = &mut w[..BLOCK.min(panel.columns - from)];
        for lane in 0..LANES {
            let row = panel.row(lane);
            for (k, w) in w.iter_mut().enumerate() {
                *w = value(dtype, row, from + k);
            }
            for (x, out) in x.chunks_exact(stride).zip(out.iter_mut()) {
                let mut sums = [0.0; LANES];
                let ((runs, rest), x) = (w.as_chunks::<LANES>(), &x[from..]);
                for (w, x) in runs.iter().zip(x.as_chunks::<LANES>().0) {
                    for i in 0..LANES {
                        sums[i] = w[i].mul_add(x[i], sums[i]);
                    }
                }
                for (i, w) in rest.iter().enumerate() {
                    sums[i] = w.mul_add(x[runs.len() * LANES + i], sums[i]);
                }
                for half in [8, 4, 2, 1] {
                    for i in 0..half {
                        sums[i] += sums[i + half];
                    }
                }
                out[lane] += sums[0];
            }
        }
    }
}

/// [`steps`] and [`floats`], compiled for AVX2.
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2 {
    use super::{Dtype, LANES, Panel, Step};

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(crate) fn steps(d: Dtype, panel: &Panel, x: &[Step], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
        super::steps(d, panel, x, stride, first, out);
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(crate) fn floats(d: Dtype, panel: &Panel, x: &[f32], stride: usize, out: &mut [[f32; LANES]]) {
        super::floats(d, panel, x, stride, out);
    }
}
