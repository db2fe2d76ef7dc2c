//! Blocks of integers → runs of 32 unsigned bytes a row, with their scales. The layouts are those of `quant`.

use std::arch::x86_64::*;

use super::turn::{Source, lower, upper};

/// 32 weights of each of sixteen rows: register `k` of `u` has values `4k ..` of each row, one row a lane.
pub(crate) struct Weights {
    pub u: [__m512i; 8],
    /// For each half of the run.
    pub scale: [__m512; 2],
    pub min: __m512,
}

/// A type of blocks.
pub(crate) trait Blocks {
    /// Values of a block.
    const LEN: usize;
    const BYTES: usize;
    /// Each half of a run has its scale.
    const HALVES: bool = false;
    /// There is a minimum.
    const MIN: bool = false;
    /// `2^CENTRE` is taken from every value; 0: nothing.
    const CENTRE: u32 = 0;

    /// Calls `each` for every run of the block at byte `at` of the rows.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW, VL and DQ, and the rows have this block.
    unsafe fn unpack<S: Source>(rows: &S, at: usize, each: impl FnMut(usize, &Weights));
}

/// Low halves of the bytes; high halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn low(v: __m512i) -> __m512i {
    _mm512_and_si512(v, _mm512_set1_epi8(15))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn high(v: __m512i) -> __m512i {
    low(_mm512_srli_epi32::<4>(v))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn lows(v: &[__m512i; 8]) -> [__m512i; 8] {
    [low(v[0]), low(v[1]), low(v[2]), low(v[3]), low(v[4]), low(v[5]), low(v[6]), low(v[7])]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn highs(v: &[__m512i; 8]) -> [__m512i; 8] {
    [high(v[0]), high(v[1]), high(v[2]), high(v[3]), high(v[4]), high(v[5]), high(v[6]), high(v[7])]
}

/// Runs of 4 bits: 16 bytes, low halves first.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn nibbles(q: [__m512i; 4]) -> [__m512i; 8] {
    [low(q[0]), low(q[1]), low(q[2]), low(q[3]), high(q[0]), high(q[1]), high(q[2]), high(q[3])]
}

/// Adds 16 to the values whose bit is set.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn fifths(bits: __m512i, mut u: [__m512i; 8]) -> [__m512i; 8] {
    let sixteen = _mm512_set1_epi8(16);
    for byte in 0..4 {
        let spread = _mm512_set1_epi32(0x0101_0101 * byte as i32);
        let each = _mm512_set4_epi32(0x0c0c_0c0c, 0x0808_0808, 0x0404_0404, 0);
        let bits = _mm512_shuffle_epi8(bits, _mm512_add_epi8(spread, each)); // this byte of the lane, four times
        let first = _mm512_test_epi8_mask(bits, _mm512_set1_epi32(0x0804_0201));
        let second = _mm512_test_epi8_mask(bits, _mm512_set1_epi32(0x8040_2010_u32 as i32));
        u[2 * byte] = _mm512_mask_add_epi8(u[2 * byte], first, u[2 * byte], sixteen);
        u[2 * byte + 1] = _mm512_mask_add_epi8(u[2 * byte + 1], second, u[2 * byte + 1], sixteen);
    }
    u
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn one(u: [__m512i; 8], scale: __m512, min: __m512) -> Weights {
    Weights { u, scale: [scale; 2], min }
}

/// `v` with the bits of `mask` taken from `bits`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn insert(v: __m512i, bits: __m512i, mask: i8) -> __m512i {
    _mm512_ternarylogic_epi32::<0xf8>(v, bits, _mm512_set1_epi8(mask)) // v | (bits & mask)
}

/// The uppermost byte of each lane, with its sign.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn signed(v: __m512i) -> __m512 {
    _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(v))
}

pub(super) struct Q8_0;
impl Blocks for Q8_0 {
    const LEN: usize = 32;
    const BYTES: usize = 34;
    const CENTRE: u32 = 7;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn unpack<S: Source>(rows: &S, at: usize, mut each: impl FnMut(usize, &Weights)) {
        let sign = _mm512_set1_epi8(-128);
        let u = rows.eight(at + 2).map(|v| _mm512_xor_si512(v, sign));
        each(0, &one(u, rows.first_half(at), _mm512_setzero_ps()));
    }
}

pub(super) struct Q4_0;
impl Blocks for Q4_0 {
    const LEN: usize = 32;
    const BYTES: usize = 18;
    const CENTRE: u32 = 3;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn unpack<S: Source>(rows: &S, at: usize, mut each: impl FnMut(usize, &Weights)) {
        let u = nibbles(rows.four(at + 2));
        each(0, &one(u, rows.first_half(at), _mm512_setzero_ps()));
    }
}

pub(super) struct Q4_1;
impl Blocks for Q4_1 {
    const LEN: usize = 32;
    const BYTES: usize = 20;
    const MIN: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn unpack<S: Source>(rows: &S, at: usize, mut each: impl FnMut(usize, &Weights)) {
        let scales = rows.four(at)[0];
        each(0, &one(nibbles(rows.four(at + 4)), lower(scales), upper(scales)));
    }
}

pub(super) struct Q5_0;
impl Blocks for Q5_0 {
    const LEN: usize = 32;
    const BYTES: usize = 22;
    const CENTRE: u32 = 4;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn unpack<S: Source>(rows: &S, at: usize, mut each: impl FnMut(usize, &Weights)) {
        let u = fifths(rows.word(at + 2), nibbles(rows.four(at + 6)));
        each(0, &one(u, rows.first_half(at), _mm512_setzero_ps()));
    }
}

pub(super) struct Q5_1;
impl Blocks for Q5_1 {
    const LEN: usize = 32;
    const BYTES: usize = 24;
    const MIN: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn unpack<S: Source>(rows: &S, at: usize, mut each: impl FnMut(usize, &Weights)) {
        let head = rows.four(at);
        let u = fifths(head[1], nibbles(rows.four(at + 8)));
        each(0, &one(u, lower(head[0]), upper(head[0])));
    }
}

/// Scales and minima of the eight runs of a K block, from its first 16 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn scales_and_mins(head: [__m512i; 4]) -> [(__m512, __m512); 8] {
    let and = |v, mask: i32| _mm512_and_si512(v, _mm512_set1_epi32(mask));
    let upper_bits = |v| and(_mm512_srli_epi32::<2>(v), 0x3030_3030); // the two upper bits of each byte, in place
    let scales = [and(head[1], 0x3f3f_3f3f), _mm512_or_si512(and(head[3], 0x0f0f_0f0f), upper_bits(head[1]))];
    let mins = [
        and(head[2], 0x3f3f_3f3f),
        _mm512_or_si512(and(_mm512_srli_epi32::<4>(head[3]), 0x0f0f_0f0f), upper_bits(head[2])),
    ];
    let (d, m) = (lower(head[0]), _mm512_xor_ps(upper(head[0]), _mm512_set1_ps(-0.0)));
    let mut out = [(d, m); 8];
    for (run, out) in out.iter_mut().enumerate() {
        let shift = _mm_cvtsi32_si128((run % 4 * 8) as i32);
        let byte = |v| _mm512_cvtepi32_ps(and(_mm512_srl_epi32(v, shift), 255));
        *out = (_mm512_mul_ps(d, byte(scales[run / 4])), _mm512_mul_ps(m, byte(mins[run / 4])));
    }
    out
}

pub(super) struct Q4K;
impl Blocks for Q4K {
    const LEN: usize = 256;
    const BYTES: usize = 144;
    const MIN: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn unpack<S: Source>(rows: &S, at: usize, mut each: impl FnMut(usize, &Weights)) {
        let scales = scales_and_mins(rows.four(at));
        for pair in 0..4 {
            let q = rows.eight(at + 16 + 32 * pair);
            let (scale, min) = scales[2 * pair];
            each(2 * pair, &one(lows(&q), scale, min));
            let (scale, min) = scales[2 * pair + 1];
            each(2 * pair + 1, &one(highs(&q), scale, min));
        }
    }
}

pub(super) struct Q5K;
impl Blocks for Q5K {
    const LEN: usize = 256;
    const BYTES: usize = 176;
    const MIN: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn unpack<S: Source>(rows: &S, at: usize, mut each: impl FnMut(usize, &Weights)) {
        let scales = scales_and_mins(rows.four(at));
        let mut bits = rows.eight(at + 16); // bit `run` of each byte; turned until it stands for 16
        for bits in &mut bits {
            *bits = _mm512_rol_epi32::<4>(*bits);
        }
        for pair in 0..4 {
            let q = rows.eight(at + 48 + 32 * pair);
            let (mut even, mut odd) = (q, q);
            for k in 0..8 {
                even[k] = insert(low(q[k]), bits[k], 0x10);
                bits[k] = _mm512_ror_epi32::<1>(bits[k]);
                odd[k] = insert(high(q[k]), bits[k], 0x10);
                bits[k] = _mm512_ror_epi32::<1>(bits[k]);
            }
            let (scale, min) = scales[2 * pair];
            each(2 * pair, &one(even, scale, min));
            let (scale, min) = scales[2 * pair + 1];
            each(2 * pair + 1, &one(odd, scale, min));
        }
    }
}

pub(super) struct Q6K;
impl Blocks for Q6K {
    const LEN: usize = 256;
    const BYTES: usize = 210;
    const HALVES: bool = true;
    const CENTRE: u32 = 5;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn unpack<S: Source>(rows: &S, at: usize, mut each: impl FnMut(usize, &Weights)) {
        let d = rows.last_half(at + 208);
        let bytes = rows.four(at + 192);
        for half in 0..2 {
            let (first, second) = (rows.eight(at + 64 * half), rows.eight(at + 64 * half + 32));
            let mut pairs = rows.eight(at + 128 + 32 * half); // bits 2·run and 2·run + 1; turned until they stand for 16 and 32
            for pairs in &mut pairs {
                *pairs = _mm512_rol_epi32::<4>(*pairs);
            }
            let mut six = |four: [__m512i; 8]| {
                let mut u = four;
                for k in 0..8 {
                    u[k] = insert(u[k], pairs[k], 0x30);
                    pairs[k] = _mm512_ror_epi32::<2>(pairs[k]);
                }
                u
            };
            let runs = [six(lows(&first)), six(lows(&second)), six(highs(&first)), six(highs(&second))];
            for (run, u) in runs.into_iter().enumerate() {
                let scales = bytes[half * 2 + run / 2];
                let scales = _mm512_sll_epi32(scales, _mm_cvtsi32_si128(if run % 2 == 0 { 16 } else { 0 }));
                let scale = [signed(_mm512_slli_epi32::<8>(scales)), signed(scales)];
                let scale = [_mm512_mul_ps(d, scale[0]), _mm512_mul_ps(d, scale[1])];
                each(half * 4 + run, &Weights { u, scale, min: _mm512_setzero_ps() });
            }
        }
    }
}
