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
struct Run {
    u: [u8; STEP],
    scale: [f32; 2],
    min: f32,
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

/// The scales of the eight runs of a block of a K type, as bytes, the first lowest, and then the minima; of Q6_K the scales of the
/// sixteen halves of runs (`quant` has the layout).
#[inline(always)]
pub(crate) fn scale_bytes(dtype: Dtype, block: &[u8]) -> [u64; 2] {
    if dtype == Dtype::Q6_K {
        let (bytes, _) = block[192..208].as_chunks();
        return [u64::from_le_bytes(bytes[0]), u64::from_le_bytes(bytes[1])];
    }
    let (bytes, _) = block[4..16].as_chunks();
    let [scale, min, rest] = [0, 1, 2].map(|four: usize| u32::from_le_bytes(bytes[four]));
    let of = |low: u32, rest: u32| {
        let high = (rest & 0x0f0f_0f0f) | ((low >> 2) & 0x3030_3030);
        u64::from(low & 0x3f3f_3f3f) | u64::from(high) << 32
    };
    [of(scale, rest), of(min, rest >> 4)]
}

/// Run `i` of a block.
#[inline(always)]
fn run(dtype: Dtype, block: &[u8], i: usize) -> Run {
    let (scale, min) = scales(dtype, block, i);
    Run { u: integers(dtype, block, i), scale, min }
}

/// The scales of the halves of run `i` of a block, and what is added to every value.
#[inline(always)]
fn scales(dtype: Dtype, block: &[u8], i: usize) -> ([f32; 2], f32) {
    let block = &block[..dtype.block_bytes()];
    match dtype {
        Dtype::Q4_K | Dtype::Q5_K => {
            let [scale, min] = scale_bytes(dtype, block).map(|bytes| f32::from(bytes.to_le_bytes()[i]));
            ([half_at(block, 0) * scale; 2], -(half_at(block, 2) * min))
        }
        Dtype::Q6_K => {
            let d = half_at(block, 208);
            let scale = |half: usize| d * f32::from(block[192 + 2 * i + half] as i8);
            ([scale(0), scale(1)], 0.0)
        }
        _ => ([half_at(block, 0); 2], if has_min(dtype) { half_at(block, 2) } else { 0.0 }),
    }
}

/// The integers of run `i` of a block.
#[inline(always)]
fn integers(dtype: Dtype, block: &[u8], i: usize) -> [u8; STEP] {
    let block = &block[..dtype.block_bytes()];
    match dtype {
        Dtype::Q8_0 => {
            let mut u = [0; STEP];
            u.iter_mut().zip(&block[2..]).for_each(|(u, q)| *u = q ^ 128);
            u
        }
        Dtype::Q4_0 => nibbles(&block[2..]),
        Dtype::Q4_1 => nibbles(&block[4..]),
        Dtype::Q5_0 => fifths(&block[2..], nibbles(&block[6..])),
        Dtype::Q5_1 => fifths(&block[4..], nibbles(&block[8..])),
        Dtype::Q4_K | Dtype::Q5_K => {
            let low = &block[if dtype == Dtype::Q4_K { 16 } else { 48 } + i / 2 * 32..][..32];
            let mut u = halves(low, i % 2);
            if dtype == Dtype::Q5_K {
                for (u, high) in u.iter_mut().zip(&block[16..48]) {
                    *u |= if high & (1 << i) == 0 { 0 } else { 16 };
                }
            }
            u
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
            u
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

/// A type of weights that is a constant, wherever it is asked for.
pub(crate) struct Of<const D: usize>;

impl<const D: usize> Of<D> {
    pub(crate) const TYPE: Dtype = Dtype::ALL[D];
}

/// Calls a function with a type of blocks as a constant, its place in [`Dtype::ALL`], so that each type has a loop of its own:
/// compilers make one call again of several that differ in an argument.
macro_rules! by_type {
    ($dtype:expr, $function:ident($($argument:expr),*)) => {
        match $dtype {
            Dtype::Q8_0 => $function::<{ Dtype::Q8_0 as usize }>($($argument),*),
            Dtype::Q4_0 => $function::<{ Dtype::Q4_0 as usize }>($($argument),*),
            Dtype::Q4_1 => $function::<{ Dtype::Q4_1 as usize }>($($argument),*),
            Dtype::Q5_0 => $function::<{ Dtype::Q5_0 as usize }>($($argument),*),
            Dtype::Q5_1 => $function::<{ Dtype::Q5_1 as usize }>($($argument),*),
            Dtype::Q4_K => $function::<{ Dtype::Q4_K as usize }>($($argument),*),
            Dtype::Q5_K => $function::<{ Dtype::Q5_K as usize }>($($argument),*),
            _ => $function::<{ Dtype::Q6_K as usize }>($($argument),*),
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use by_type;

/// Adds the products of a panel's rows with columns, `[step][stride]` from column `first` on, to `out`, one group of rows a
/// column.
#[inline(always)]
pub(crate) fn shorts(dtype: Dtype, panel: &Panel, x: &[Short], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    by_type!(dtype, shorts_of(panel, x, stride, first, out));
}

#[inline(always)]
fn shorts_of<const D: usize>(panel: &Panel, x: &[Short], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    let dtype = Of::<D>::TYPE;
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
