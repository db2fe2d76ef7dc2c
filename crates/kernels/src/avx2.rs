//! Weights in blocks with AVX2: [`portable`](crate::matmul::portable) bit for bit. Eight rows at a time are unpacked to 16 bits; for each column
//! `vpmaddwd` multiplies a row, and the sums of eight rows are brought into the eight lanes of a register.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use crate::dtype::Dtype;
use crate::matmul::columns::{LANES, STEP, Short};
use crate::matmul::portable::{Run, by_type, centre, has_min, run};
use crate::matmul::rows::Panel;

/// Rows that are computed together.
const ROWS: usize = 8;

/// As [`portable::shorts`](crate::matmul::portable::shorts).
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn shorts(d: Dtype, panel: &Panel, x: &[Short], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    by_type!(d, shorts_of(panel, x, stride, first, out));
}

#[inline(always)]
fn shorts_of(d: Dtype, panel: &Panel, x: &[Short], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    let (runs, size) = (d.block_len() / STEP, d.block_bytes());
    for group in (0..LANES).step_by(ROWS) {
        let rows: [_; ROWS] = std::array::from_fn(|lane| panel.row(d, group + lane));
        for (block, x) in x.chunks_exact(stride * runs).enumerate().take(panel.columns / d.block_len()) {
            for (i, x) in x.chunks_exact(stride).enumerate() {
                let mut weights = Weights::ZERO;
                for lane in 0..ROWS {
                    weights.put(lane, &run(d, &rows[lane][block * size..][..size], i));
                }
                for (x, out) in x[first..].iter().zip(out.iter_mut()) {
                    let out = &mut out[group..group + ROWS];
                    // SAFETY: eight sums; only what is compiled for AVX2 calls this.
                    unsafe {
                        let sums = weights.add(d, x, _mm256_loadu_ps(out.as_ptr()));
                        _mm256_storeu_ps(out.as_mut_ptr(), sums);
                    }
                }
            }
        }
    }
}

/// A run of 32 weights of each of eight rows.
struct Weights {
    w: [[i16; STEP]; ROWS],
    /// For each half of the run.
    scale: [[f32; ROWS]; 2],
    min: [f32; ROWS],
}

impl Weights {
    const ZERO: Self = Self { w: [[0; STEP]; ROWS], scale: [[0.0; ROWS]; 2], min: [0.0; ROWS] };

    #[inline(always)]
    fn put(&mut self, lane: usize, run: &Run) {
        self.w[lane].iter_mut().zip(run.u).for_each(|(w, u)| *w = i16::from(u));
        (self.scale[0][lane], self.scale[1][lane], self.min[lane]) = (run.scale[0], run.scale[1], run.min);
    }

    /// Adds the products with one column to the sums of eight rows.
    ///
    /// # Safety
    /// The processor has AVX2 and FMA.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn add(&self, d: Dtype, x: &Short, mut sums: __m256) -> __m256 {
        // SAFETY: 16 values of 16 bits, eight of 32.
        let shorts = |q: &[i16; STEP], half: usize| unsafe { _mm256_loadu_si256(q.as_ptr().add(16 * half).cast()) };
        let floats = |f: &[f32; ROWS]| unsafe { _mm256_loadu_ps(f.as_ptr()) };
        let half = |half: usize| {
            let (x, mut products) = (shorts(&x.q, half), [_mm256_setzero_si256(); ROWS]);
            for row in 0..ROWS {
                products[row] = _mm256_madd_epi16(shorts(&self.w[row], half), x);
            }
            products
        };
        let scaled = |sum: __m256i, centre: i32, scale: &[f32; ROWS], sums: __m256| {
            let sum = _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, _mm256_set1_epi32(centre)));
            _mm256_fmadd_ps(sum, _mm256_mul_ps(floats(scale), _mm256_set1_ps(x.scale)), sums)
        };
        let (a, b) = (half(0), half(1));
        if d == Dtype::Q6_K {
            sums = scaled(totals(a), centre(d) * x.sums[0], &self.scale[0], sums);
            sums = scaled(totals(b), centre(d) * x.sums[1], &self.scale[1], sums);
        } else {
            let mut both = a;
            for row in 0..ROWS {
                both[row] = _mm256_add_epi32(a[row], b[row]);
            }
            sums = scaled(totals(both), centre(d) * (x.sums[0] + x.sums[1]), &self.scale[0], sums);
        }
        if has_min(d) {
            sums = _mm256_fmadd_ps(floats(&self.min), _mm256_set1_ps(x.sum), sums);
        }
        sums
    }
}

/// The totals of eight times eight integers.
#[inline]
#[target_feature(enable = "avx2")]
fn totals(v: [__m256i; ROWS]) -> __m256i {
    let pair = |a, b| _mm256_hadd_epi32(a, b);
    let low = pair(pair(v[0], v[1]), pair(v[2], v[3])); // four rows, a half of each in either half
    let high = pair(pair(v[4], v[5]), pair(v[6], v[7]));
    _mm256_add_epi32(_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high))
}
