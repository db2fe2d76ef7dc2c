//! Weights stored one by one → sixteen registers of f32.

use std::arch::x86_64::*;

use super::turn::{Pointers, turn8, turn16};
use crate::matmul::columns::LANES;

/// A type of plain weights.
pub(super) trait Plain {
    const BYTES: usize;

    /// Sixteen values at byte `at` of each row: register `k` has value `k`, one row a lane.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW, VL and DQ, and the rows have these values.
    unsafe fn turn(rows: &Pointers, at: usize) -> [__m512; LANES];
}

pub(super) struct F32;
impl Plain for F32 {
    const BYTES: usize = 4;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn turn(rows: &Pointers, at: usize) -> [__m512; LANES] {
        let v = turn16(rows, at);
        let mut out = [_mm512_setzero_ps(); LANES];
        for k in 0..LANES {
            out[k] = _mm512_castsi512_ps(v[k]);
        }
        out
    }
}

pub(super) struct F16;
impl Plain for F16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn turn(rows: &Pointers, at: usize) -> [__m512; LANES] {
        let v = turn8(rows, at);
        let mut out = [_mm512_setzero_ps(); LANES];
        for k in 0..8 {
            out[2 * k] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v[k]));
            out[2 * k + 1] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(v[k])));
        }
        out
    }
}

/// bf16, whose values are those of f32 with fewer digits.
pub(super) struct Wide;
impl Plain for Wide {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn turn(rows: &Pointers, at: usize) -> [__m512; LANES] {
        let v = turn8(rows, at);
        let mut out = [_mm512_setzero_ps(); LANES];
        for k in 0..8 {
            out[2 * k] = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(v[k]));
            out[2 * k + 1] = _mm512_castsi512_ps(_mm512_and_si512(v[k], _mm512_set1_epi32(0xffff_0000_u32 as i32)));
        }
        out
    }
}
