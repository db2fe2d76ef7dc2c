//! Packing of f32 into stored weights: the reverse of [`dequantize`](crate::dequantize), which has the layouts.
//!
//! The plain types round to nearest even. The quantised types give the bytes of GGML's reference (`quantize_row_*_ref` of
//! `ggml-quants.c`, 0.25). Their errors, with `d` the scale that is stored, `span` the widest range of a run of 32 with zero
//! in it, `peak` the greatest magnitude of the block, before the rounding of scales that are below f16's normal numbers:
//!
//! | type | scale | a value is off by |
//! |---|---|---|
//! | Q8_0 | `peak / 127` | at most `0.57·d`: half a step, and 127 times what rounding `d` to f16 costs |
//! | Q4_0, Q5_0 | the first `peak` with its sign `/ −8`, `/ −16` | at most `1.01·d`: the opposite end has no code |
//! | Q4_1, Q5_1 | `(max − min) / 15`, `/ 31`; the minimum is stored | at most `0.52·d + |m| / 2000` |
//! | Q4_K, Q5_K | searched | `span / 15`, `span / 25` in the mean square of a run |
//! | Q6_K | searched | at most `peak / 16` |
//!
//! The bounds of the searched types are what the property tests hold them to, those of the others follow from the arithmetic.
//!
//! Where GGML overflows, this saturates: a scale stays within ±65504, what f16 holds, and values beyond the last code get it.
//! Where GGML divides by a scale whose reciprocal overflows, the codes are those of zero; such a scale is stored as zero.

mod k;
mod symmetric;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::{Dtype, KernelError};

/// The greatest finite f16.
const HALF_MAX: f32 = 65504.0;

/// Packs `values` as `dtype` into `out`, all of which is written.
///
/// Any length of whole blocks will do; blocks do not depend on each other, so rows may be packed in parallel. F16 and BF16
/// turn what they cannot hold into infinity and keep NaN.
///
/// # Errors
/// [`KernelError::Length`] if `values` is not whole blocks or `out` has another number of bytes than they take;
/// [`KernelError::NotFinite`] if `dtype` has blocks and a value is infinite or NaN. `out` is then as it was.
pub fn quantize(dtype: Dtype, values: &[f32], out: &mut [u8]) -> Result<(), KernelError> {
    if dtype.bytes(values.len()) != Some(out.len()) {
        return Err(KernelError::Length { dtype, bytes: out.len(), values: values.len() });
    }
    if dtype.block_len() > 1
        && let Some(index) = not_finite(values)
    {
        return Err(KernelError::NotFinite { dtype, index });
    }
    match dtype {
        Dtype::F32 => blocks(values, out, |v: &[f32; 1], o: &mut [u8; 4]| *o = v[0].to_le_bytes()),
        Dtype::F16 => halves(values, out),
        Dtype::BF16 => blocks(values, out, |v: &[f32; 1], o: &mut [u8; 2]| *o = bf16::from_f32(v[0]).to_le_bytes()),
        Dtype::Q8_0 => blocks(values, out, q8_0),
        Dtype::Q4_0 => blocks(values, out, q4_0),
        Dtype::Q4_1 => blocks(values, out, q4_1),
        Dtype::Q5_0 => blocks(values, out, q5_0),
        Dtype::Q5_1 => blocks(values, out, q5_1),
        Dtype::Q4_K => blocks(values, out, k::q4_k),
        Dtype::Q5_K => blocks(values, out, k::q5_k),
        Dtype::Q6_K => blocks(values, out, symmetric::q6_k),
    }
    Ok(())
}

/// Where the first infinity or NaN is; a run at a time, for a search that may stop anywhere is slow.
fn not_finite(values: &[f32]) -> Option<usize> {
    const RUN: usize = 256;
    let run = values.chunks(RUN).position(|run| !run.iter().fold(true, |all, v| all & v.is_finite()))?;
    let within = values[run * RUN..].iter().position(|v| !v.is_finite())?;
    Some(run * RUN + within)
}

/// Packs all blocks in one way; the lengths were checked.
fn blocks<const N: usize, const B: usize>(values: &[f32], out: &mut [u8], pack: impl Fn(&[f32; N], &mut [u8; B])) {
    let (values, _) = values.as_chunks::<N>();
    let (out, _) = out.as_chunks_mut::<B>();
    for (values, block) in values.iter().zip(out) {
        pack(values, block);
    }
}

/// Plain halves, a run at a time, as [`dequantize`](crate::dequantize) reads them.
fn halves(values: &[f32], out: &mut [u8]) {
    const RUN: usize = 256;
    let mut run = [f16::ZERO; RUN];
    for (values, bytes) in values.chunks(RUN).zip(out.chunks_mut(2 * RUN)) {
        let run = &mut run[..values.len()];
        run.convert_from_f32_slice(values);
        for (half, pair) in run.iter().zip(bytes.as_chunks_mut::<2>().0) {
            *pair = half.to_le_bytes();
        }
    }
}

// All arithmetic on codes is in f32, where the baseline of every processor has vectors for it: conversions to integers,
// `round` and `floor` have none there, and `as` has to look for values that cannot occur.

/// 1.5·2²³: the sum with a number below 2²² is rounded to an integer, which the low bits are.
const TO_INTEGER: f32 = 12_582_912.0;

/// The nearest integer, the even one of two; numbers of 2²² and more stay about as great.
#[inline]
fn nearest(v: f32) -> f32 {
    (v + TO_INTEGER) - TO_INTEGER
}

/// The low byte of an integer below 2²².
#[inline]
fn byte(integer: f32) -> u8 {
    (integer + TO_INTEGER).to_bits() as u8
}

/// `v` between two bounds; NaN becomes the lower. Two instructions, where `clamp` must keep NaN.
#[inline]
fn within(v: f32, low: f32, high: f32) -> f32 {
    let v = if v > low { v } else { low };
    if v < high { v } else { high }
}

/// What to multiply with to divide by `d`; 0 for a scale too small to do so.
fn inverse(d: f32) -> f32 {
    let inverse = 1.0 / d;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// Writes a scale as f16 at byte `at`.
fn put_half(block: &mut [u8], at: usize, scale: f32) {
    block[at..at + 2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
}

/// The least and the greatest value.
fn extremes(values: &[f32; 32]) -> (f32, f32) {
    let (mut low, mut high) = ([f32::MAX; 8], [f32::MIN; 8]);
    for values in values.as_chunks::<8>().0 {
        for i in 0..8 {
            low[i] = if values[i] < low[i] { values[i] } else { low[i] };
            high[i] = if values[i] > high[i] { values[i] } else { high[i] };
        }
    }
    (low.into_iter().fold(f32::MAX, f32::min), high.into_iter().fold(f32::MIN, f32::max))
}

/// The first of the values with the greatest magnitude; 0 if there are only zeros.
fn peak(values: &[f32; 32]) -> f32 {
    let (low, high) = extremes(values);
    if high > -low {
        high
    } else if high < -low {
        low
    } else {
        values.iter().copied().find(|v| v.abs() == high && *v != 0.0).unwrap_or(0.0)
    }
}

fn q8_0(values: &[f32; 32], block: &mut [u8; 34]) {
    let d = within(peak(values).abs() / 127.0, 0.0, HALF_MAX);
    put_half(block, 0, d);
    let inverse = inverse(d);
    for (value, q) in values.iter().zip(&mut block[2..]) {
        let exact = value * inverse;
        let even = nearest(exact);
        // A half goes away from zero.
        let up = if exact - even == 0.5 && exact > 0.0 { 1.0 } else { 0.0 };
        let down = if exact - even == -0.5 && exact < 0.0 { 1.0 } else { 0.0 };
        *q = byte(within(even + up - down, -127.0, 127.0));
    }
}

/// `floor(v·inverse + shift)` of every value less `minimum`, from 0 to `last`.
#[inline]
fn codes(values: &[f32; 32], minimum: f32, inverse: f32, shift: f32, last: f32) -> [u8; 32] {
    let mut codes = [0; 32];
    for (value, code) in values.iter().zip(&mut codes) {
        let exact = within((value - minimum) * inverse + shift, 0.0, last);
        let even = nearest(exact);
        *code = byte(if even > exact { even - 1.0 } else { even });
    }
    codes
}

/// 32 codes: the lower four bits of the first and the second half in 16 bytes.
fn nibbles(codes: &[u8; 32], bytes: &mut [u8]) {
    let (low, high) = codes.split_at(16);
    for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
        *byte = low & 15 | high << 4;
    }
}

/// The fifth bits of 32 codes.
fn fifths(codes: &[u8; 32]) -> [u8; 4] {
    codes.iter().enumerate().fold(0, |bits, (i, code)| bits | u32::from(code >> 4) << i).to_le_bytes()
}

/// Scale and codes of a type whose values lie about zero.
#[inline]
fn about_zero(values: &[f32; 32], middle: f32) -> (f32, [u8; 32]) {
    let d = within(peak(values) / -middle, -HALF_MAX, HALF_MAX);
    (d, codes(values, 0.0, inverse(d), middle + 0.5, 2.0 * middle - 1.0))
}

/// Scale, minimum and codes of a type whose values lie above a minimum.
#[inline]
fn above_minimum(values: &[f32; 32], last: f32) -> (f32, f32, [u8; 32]) {
    let (low, high) = extremes(values);
    // Of the two zeros the first counts.
    let low = if low == 0.0 { values.iter().copied().find(|v| *v == 0.0).unwrap_or(low) } else { low };
    let low = within(low, -HALF_MAX, HALF_MAX);
    let d = within((high - low) / last, 0.0, HALF_MAX);
    (d, low, codes(values, low, inverse(d), 0.5, last))
}

fn q4_0(values: &[f32; 32], block: &mut [u8; 18]) {
    let (d, codes) = about_zero(values, 8.0);
    put_half(block, 0, d);
    nibbles(&codes, &mut block[2..]);
}

fn q4_1(values: &[f32; 32], block: &mut [u8; 20]) {
    let (d, m, codes) = above_minimum(values, 15.0);
    put_half(block, 0, d);
    put_half(block, 2, m);
    nibbles(&codes, &mut block[4..]);
}

fn q5_0(values: &[f32; 32], block: &mut [u8; 22]) {
    let (d, codes) = about_zero(values, 16.0);
    put_half(block, 0, d);
    block[2..6].copy_from_slice(&fifths(&codes));
    nibbles(&codes, &mut block[6..]);
}

fn q5_1(values: &[f32; 32], block: &mut [u8; 24]) {
    let (d, m, codes) = above_minimum(values, 31.0);
    put_half(block, 0, d);
    put_half(block, 2, m);
    block[4..8].copy_from_slice(&fifths(&codes));
    nibbles(&codes, &mut block[8..]);
}
