//! Inputs of a product in the forms of [`columns`](crate::matmul::columns), with AVX-512.

use std::arch::x86_64::*;

use half::bf16;

use crate::matmul::columns::{STEP, Step, scale};

/// [`Short::new`](crate::matmul::columns::Short), bit for bit, in bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn step(values: &[f32; STEP]) -> Step {
    // SAFETY: 32 floats are two registers.
    let v = unsafe { [_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(values.as_ptr().add(16))] };
    let sizes = v.map(|v| _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fff_ffff)));
    let bits = _mm512_reduce_max_epu32(_mm512_max_epu32(sizes[0], sizes[1]));
    let mut step = Step::ZERO;
    let (scale, factor) = scale(bits);
    (step.scale, step.sum) = (scale, scale * 0.0);
    let Some(factor) = factor else { return step };
    for half in 0..2 {
        let q = _mm512_cvtps_epi32(_mm512_mul_ps(v[half], _mm512_set1_ps(factor))); // to nearest, ties to even
        let hi = _mm512_srai_epi32::<8>(_mm512_add_epi32(q, _mm512_set1_epi32(128)));
        let lo = _mm512_sub_epi32(q, _mm512_slli_epi32::<8>(hi));
        // SAFETY: sixteen bytes of each half.
        unsafe {
            _mm_storeu_si128(step.hi.as_mut_ptr().add(16 * half).cast(), _mm512_cvtepi32_epi8(hi));
            _mm_storeu_si128(step.lo.as_mut_ptr().add(16 * half).cast(), _mm512_cvtepi32_epi8(lo));
        }
        step.sums[half] = _mm512_reduce_add_epi32(q);
    }
    step.sum = step.scale * (step.sums[0] + step.sums[1]) as f32;
    step
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
