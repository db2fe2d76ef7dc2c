//! The kernels in plain Rust: the definition of every result.
//!
//! An output is a sum in the order of the inner dimension, whatever is computed beside it. Weights in blocks: for each run
//! of 32 values (16 for Q6_K) an exact sum of integers, then
//! `y += scale_w · scale_x · Σ (u − centre)·x` and, for types with a minimum, `y += min_w · Σ x`. Plain weights: sixteen
//! sums of every sixteenth product, of 1024 products at a time; halves of the sums are added until one is left, which is
//! added to the output. All other additions are fused with their product.

use super::columns::{BLOCK, LANES, STEP, Short};
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

#[inline(always)]
fn half_at(block: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// 32 values of 4 bits: low halves, then high halves.
#[inline(always)]
fn nibbles(bytes: &[u8]) -> [u8; STEP] {
    let (bytes, mut u) = (&bytes[..16], [0; STEP]);
    for i in 0..16 {
        (u[i], u[16 + i]) = (bytes[i] & 15, bytes[i] >> 4);
    }
    u
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
#[inline(always)]
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
        Dtype::Q8_0 => {
            let mut u = [0; STEP];
            u.iter_mut().zip(&block[2..]).for_each(|(u, q)| *u = q ^ 128);
            one(u, d, 0.0)
        }
        Dtype::Q4_0 => one(nibbles(&block[2..]), d, 0.0),
        Dtype::Q4_1 => one(nibbles(&block[4..]), d, half_at(block, 2)),
        Dtype::Q5_0 => one(fifths(&block[2..], nibbles(&block[6..])), d, 0.0),
        Dtype::Q5_1 => one(fifths(&block[4..], nibbles(&block[8..])), d, half_at(block, 2)),
        Dtype::Q4_K | Dtype::Q5_K => {
            let (scale, min) = scale_and_min(&block[4..16], i);
            let low = &block[if dtype == Dtype::Q4_K { 16 } else { 48 } + i / 2 * 32..][..32];
            let mut u = halves(low, i % 2);
            if dtype == Dtype::Q5_K {
                for (u, high) in u.iter_mut().zip(&block[16..48]) {
                    *u |= if high & (1 << i) == 0 { 0 } else { 16 };
                }
            }
            one(u, d * scale, -(half_at(block, 2) * min))
        }
        _ => {
            let (half, i) = (i / 4, i % 4);
            let (low, high) = (&block[half * 64 + i % 2 * 32..][..32], &block[128 + half * 32..][..32]);
            let mut u = halves(low, i / 2);
            let pairs = u.iter_mut().zip(high);
            match i {
                0 => pairs.for_each(|(u, high)| *u |= (high & 3) << 4),
                1 => pairs.for_each(|(u, high)| *u |= (high & 12) << 2),
                2 => pairs.for_each(|(u, high)| *u |= high & 48),
                _ => pairs.for_each(|(u, high)| *u |= (high >> 2) & 48),
            }
            let d = half_at(block, 208);
            let scale = |k: usize| d * f32::from(block[192 + half * 8 + i * 2 + k] as i8);
            Run { u, scale: [scale(0), scale(1)], min: 0.0 }
        }
    }
}

/// The low halves of 32 bytes, or the high ones.
#[inline(always)]
fn halves(bytes: &[u8], high: usize) -> [u8; STEP] {
    let (bytes, mut u) = (&bytes[..STEP], [0; STEP]);
    for i in 0..STEP {
        u[i] = if high == 0 { bytes[i] & 15 } else { bytes[i] >> 4 };
    }
    u
}

/// Calls a function with a type of blocks as a constant, so that each type has a loop of its own.
macro_rules! by_type {
    ($dtype:expr, $function:ident($($argument:expr),*)) => {
        match $dtype {
            Dtype::Q8_0 => $function(Dtype::Q8_0, $($argument),*),
            Dtype::Q4_0 => $function(Dtype::Q4_0, $($argument),*),
            Dtype::Q4_1 => $function(Dtype::Q4_1, $($argument),*),
            Dtype::Q5_0 => $function(Dtype::Q5_0, $($argument),*),
            Dtype::Q5_1 => $function(Dtype::Q5_1, $($argument),*),
            Dtype::Q4_K => $function(Dtype::Q4_K, $($argument),*),
            Dtype::Q5_K => $function(Dtype::Q5_K, $($argument),*),
            _ => $function(Dtype::Q6_K, $($argument),*),
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(crate) use by_type;

/// Adds the products of a panel's rows with columns, `[step][stride]` from column `first` on, to `out`, one group of rows a
/// column.
#[inline(always)]
pub(crate) fn shorts(dtype: Dtype, panel: &Panel, x: &[Short], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    by_type!(dtype, shorts_of(panel, x, stride, first, out));
}

#[inline(always)]
fn shorts_of(dtype: Dtype, panel: &Panel, x: &[Short], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    let runs = dtype.block_len() / STEP;
    for lane in 0..LANES {
        let row = panel.row(dtype, lane);
        for (block, x) in row.chunks_exact(dtype.block_bytes()).zip(x.chunks_exact(stride * runs)) {
            for (i, x) in x.chunks_exact(stride).enumerate() {
                let run = run(dtype, block, i);
                let mut w = [0; STEP];
                w.iter_mut().zip(run.u).for_each(|(w, u)| *w = i16::from(u));
                for (x, out) in x[first..].iter().zip(out.iter_mut()) {
                    add(dtype, &run, &w, x, &mut out[lane]);
                }
            }
        }
    }
}

/// Adds the products of a run with one column.
#[inline(always)]
fn add(dtype: Dtype, run: &Run, w: &[i16; STEP], x: &Short, out: &mut f32) {
    let mut sums = [dot(w, &x.q, 0), dot(w, &x.q, 16)];
    for half in 0..2 {
        sums[half] -= centre(dtype) * x.sums[half];
    }
    if dtype == Dtype::Q6_K {
        for half in 0..2 {
            *out = (sums[half] as f32).mul_add(run.scale[half] * x.scale, *out);
        }
    } else {
        *out = ((sums[0] + sums[1]) as f32).mul_add(run.scale[0] * x.scale, *out);
    }
    if has_min(dtype) {
        *out = run.min.mul_add(x.sum, *out);
    }
}

/// Sum of sixteen products, in a form of which compilers make the instructions that multiply and add pairs.
#[inline(always)]
fn dot(w: &[i16; STEP], x: &[i16; STEP], from: usize) -> i32 {
    let mut sum = 0;
    for i in from..from + 16 {
        sum += i32::from(w[i]) * i32::from(x[i]);
    }
    sum
}

/// The values from `from` on of a row of plain weights.
#[inline(always)]
fn widen(dtype: Dtype, row: &[u8], from: usize, out: &mut [f32]) {
    match dtype {
        Dtype::F32 => {
            let (row, _) = row[4 * from..].as_chunks();
            out.iter_mut().zip(row).for_each(|(out, bytes)| *out = f32::from_le_bytes(*bytes));
        }
        Dtype::F16 => {
            let (row, _) = row[2 * from..].as_chunks();
            out.iter_mut().zip(row).for_each(|(out, bytes)| *out = f16_to_f32(u16::from_le_bytes(*bytes)));
        }
        _ => {
            let (row, _) = row[2 * from..].as_chunks();
            let wide = |bytes: [u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16);
            out.iter_mut().zip(row).for_each(|(out, bytes)| *out = wide(*bytes));
        }
    }
}

/// An f16, in arithmetic that compilers make vectors of: its digits as those of an f32 with the exponent scaled; infinity
/// and NaN as they are.
#[inline(always)]
fn f16_to_f32(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let value = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((254 - 15) << 23);
    let special = f32::from_bits(0x7f80_0000 | ((bits & 0x3ff) << 13));
    let size = if bits & 0x7c00 == 0x7c00 { special } else { value };
    f32::from_bits(size.to_bits() | ((bits & 0x8000) << 16))
}

/// As [`shorts`], for plain weights and columns `[column][stride]`.
#[inline(always)]
pub(crate) fn floats(dtype: Dtype, panel: &Panel, x: &[f32], stride: usize, out: &mut [[f32; LANES]]) {
    let mut w = [0.0; BLOCK];
    for from in (0..panel.columns).step_by(BLOCK) {
        let w = &mut w[..BLOCK.min(panel.columns - from)];
        for lane in 0..LANES {
            let row = panel.row(dtype, lane);
            widen(dtype, &row, from, w);
            for (x, out) in x.chunks(stride).zip(out.iter_mut()) {
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

/// [`floats`], compiled for AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn floats_avx2(d: Dtype, panel: &Panel, x: &[f32], stride: usize, out: &mut [[f32; LANES]]) {
    floats(d, panel, x, stride, out);
}
