//! Convolutions: sums of eight channels at three registers of places, or of the gradients of eight outputs and three inputs.

use std::arch::x86_64::*;

use half::bf16;

use super::plain::totals;
use crate::conv::tile::{LONGEST, OUTPUTS, WIDE};
use crate::matmul::columns::LANES;

/// Inputs whose gradients are summed at once.
const INPUTS: usize = 3;

/// What registers hold.
pub(crate) trait Multiply: Copy {
    /// Values of a register.
    const STEP: usize = 64 / size_of::<Self>();

    /// Adds the products of two registers to sixteen sums.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW, VL and DQ, and BF16 for values of that.
    unsafe fn add(sums: __m512, a: __m512i, b: __m512i) -> __m512;
}

impl Multiply for f32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn add(sums: __m512, a: __m512i, b: __m512i) -> __m512 {
        _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sums)
    }
}

impl Multiply for bf16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    unsafe fn add(sums: __m512, a: __m512i, b: __m512i) -> __m512 {
        _mm512_dpbf16_ps(sums, std::mem::transmute::<__m512i, __m512bh>(a), std::mem::transmute::<__m512i, __m512bh>(b))
    }
}

impl Multiply for [bf16; 2] {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    unsafe fn add(sums: __m512, a: __m512i, b: __m512i) -> __m512 {
        bf16::add(sums, a, b)
    }
}

/// As [`Product::filter`](crate::conv::tile), for cells of 32 bits: `x` is `[channels][channel]`, `weights` `[channels][taps]`,
/// `out` `[OUTPUTS][len]`.
///
/// # Safety
/// As [`Multiply::add`]. `len` is whole registers, and a tap with `len` stays inside a channel.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(crate) unsafe fn filter<C: Multiply>(
    x: &[C],
    channel: usize,
    taps: &[usize],
    weights: &[[C; OUTPUTS]],
    len: usize,
    out: &mut [f32],
) {
    let mut place = 0;
    while place < len {
        let (x, out) = (x.as_ptr().add(place), out.as_mut_ptr().add(place));
        match (len - place) / LANES {
            0 | 1 => tile::<C, 1>(x, channel, taps, weights, len, out),
            2 => tile::<C, 2>(x, channel, taps, weights, len, out),
            _ => tile::<C, WIDE>(x, channel, taps, weights, len, out),
        }
        place += WIDE * LANES;
    }
}

/// `V` registers of places.
///
/// # Safety
/// As [`filter`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn tile<C: Multiply, const V: usize>(
    mut x: *const C,
    channel: usize,
    taps: &[usize],
    weights: &[[C; OUTPUTS]],
    len: usize,
    out: *mut f32,
) {
    let mut sums = [[_mm512_setzero_ps(); V]; OUTPUTS];
    for weights in weights.chunks_exact(taps.len()) {
        for (&tap, weights) in taps.iter().zip(weights) {
            let mut seen = [_mm512_setzero_si512(); V];
            for v in 0..V {
                seen[v] = _mm512_loadu_si512(x.wrapping_add(tap + v * LANES).cast());
            }
            for o in 0..OUTPUTS {
                let weight = _mm512_set1_epi32(weights.as_ptr().add(o).cast::<i32>().read_unaligned());
                for v in 0..V {
                    sums[o][v] = C::add(sums[o][v], seen[v], weight);
                }
            }
        }
        x = x.wrapping_add(channel);
    }
    for o in 0..OUTPUTS {
        for v in 0..V {
            _mm512_storeu_ps(out.add(o * len + v * LANES), sums[o][v]);
        }
    }
}

/// As [`Correlated::sums`](crate::conv::tile): `x` is `[channels][channel]`, `y` `[OUTPUTS][len]`, `sums` `[channels][taps]`.
///
/// # Safety
/// As [`Multiply::add`]. Lines of `y` are whole registers, and a tap with a line stays inside a channel.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(crate) unsafe fn correlate<C: Multiply>(
    x: &[C],
    channel: usize,
    taps: &[usize],
    y: &[C],
    sums: &mut [[f32; OUTPUTS]],
) {
    let len = y.len() / OUTPUTS;
    for from in (0..len).step_by(LONGEST) {
        let count = LONGEST.min(len - from);
        let y = y.as_ptr().add(from);
        for (index, sums) in sums.chunks_mut(INPUTS * taps.len()).enumerate() {
            let x = x.as_ptr().add(index * INPUTS * channel + from);
            for (t, &tap) in taps.iter().enumerate() {
                let (x, sums) = (x.add(tap), &mut sums[t..]);
                match sums.len().div_ceil(taps.len()) {
                    1 => products::<C, 1>(x, channel, y, len, count, sums, taps.len()),
                    2 => products::<C, 2>(x, channel, y, len, count, sums, taps.len()),
                    _ => products::<C, INPUTS>(x, channel, y, len, count, sums, taps.len()),
                }
            }
        }
    }
}

/// The sums of `I` inputs, `step` apart in `sums`, over `count` places.
///
/// # Safety
/// As [`correlate`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn products<C: Multiply, const I: usize>(
    x: *const C,
    channel: usize,
    y: *const C,
    len: usize,
    count: usize,
    sums: &mut [[f32; OUTPUTS]],
    step: usize,
) {
    let mut lanes = [[_mm512_setzero_ps(); OUTPUTS]; I];
    for place in (0..count).step_by(C::STEP) {
        let mut seen = [_mm512_setzero_si512(); I];
        for i in 0..I {
            seen[i] = _mm512_loadu_si512(x.add(i * channel + place).cast());
        }
        for o in 0..OUTPUTS {
            let y = _mm512_loadu_si512(y.add(o * len + place).cast());
            for i in 0..I {
                lanes[i][o] = C::add(lanes[i][o], seen[i], y);
            }
        }
    }
    for i in 0..I {
        for (half, sums) in sums[i * step].chunks_exact_mut(OUTPUTS / 2).enumerate() {
            let [a, b] = [4 * half, 4 * half + 2];
            let total = totals([lanes[i][a], lanes[i][a + 1], lanes[i][b], lanes[i][b + 1]]);
            _mm_storeu_ps(sums.as_mut_ptr(), _mm_add_ps(_mm_loadu_ps(sums.as_ptr()), total));
        }
    }
}
