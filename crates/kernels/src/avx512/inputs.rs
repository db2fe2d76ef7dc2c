//! Inputs of a product in the forms of [`columns`](crate::matmul::columns), with AVX-512.

use std::arch::x86_64::*;

use half::bf16;

use crate::matmul::columns::{STEP, scale};

/// [`Short::new`](crate::matmul::columns::Short), bit for bit, with the integers in bytes: the scale, and the sums of the halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn step(values: &[f32; STEP], hi: &mut [i8; STEP], lo: &mut [i8; STEP]) -> (f32, [i32; 2]) {
    // SAFETY: 32 floats are two registers.
    let v = unsafe { [_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(values.as_ptr().add(16))] };
    let sizes = v.map(|v| _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fff_ffff)));
    let (scale, factor) = scale(_mm512_reduce_max_epu32(_mm512_max_epu32(sizes[0], sizes[1])));
    let Some(factor) = factor else {
        (*hi, *lo) = ([0; STEP], [0; STEP]);
        return (scale, [0; 2]);
    };
    let q = v.map(|v| _mm512_cvtps_epi32(_mm512_mul_ps(v, _mm512_set1_ps(factor)))); // to nearest, ties to even
    let words = _mm512_packs_epi32(q[0], q[1]); // of each 128 bits of both in turn
    let words = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), words);
    let high = _mm512_srai_epi16::<8>(_mm512_add_epi16(words, _mm512_set1_epi16(128)));
    // SAFETY: 32 bytes each.
    unsafe {
        _mm256_storeu_si256(hi.as_mut_ptr().cast(), _mm512_cvtepi16_epi8(high));
        _mm256_storeu_si256(lo.as_mut_ptr().cast(), _mm512_cvtepi16_epi8(words));
    }
    // Both halves side by side.
    let sums = _mm512_madd_epi16(words, _mm512_set1_epi16(1));
    let sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32::<0b01_00_11_10>(sums));
    let sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32::<0b10_11_00_01>(sums));
    let sums = _mm512_add_epi32(sums, _mm512_shuffle_i64x2::<0b10_11_00_01>(sums, sums));
    (scale, [_mm512_cvtsi512_si32(sums), _mm256_extract_epi32::<0>(_mm512_extracti64x4_epi64::<1>(sums))])
}

/// Rounds to the nearest bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(crate) fn round(values: &[f32], out: &mut [bf16]) {
    let ((runs, rest), (outs, out)) = (values.as_chunks::<STEP>(), out.as_chunks_mut::<STEP>());
    for (values, out) in runs.iter().zip(outs) {
        // SAFETY: 32 floats in, 32 halves out.
        unsafe {
            let v = [_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(values.as_ptr().add(16))];
            let rounded = _mm512_cvtne2ps_pbh(v[1], v[0]);
            _mm512_storeu_si512(out.as_mut_ptr().cast(), std::mem::transmute::<__m512bh, __m512i>(rounded));
        }
    }
    for (value, out) in rest.iter().zip(out) {
        *out = bf16::from_f32(*value);
    }
}
