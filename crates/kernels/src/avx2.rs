//! Weights in blocks with AVX2: [`portable`](crate::matmul::portable) bit for bit. Eight rows at a time are unpacked to 16 bits; for each column
//! `vpmaddwd` multiplies a row, and the sums of eight rows are brought into the eight lanes of a register.
//!
//! The type is a constant of every function, so that each has a copy of its own, which its one caller takes in.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use crate::dtype::Dtype;
use crate::matmul::columns::{LANES, LINE, STEP, Short};
use crate::matmul::portable::{Of, by_type, centre, has_min, scale_bytes};
use crate::matmul::rows::Panel;

/// Rows that are computed together.
const ROWS: usize = 8;

/// As [`portable::shorts`](crate::matmul::portable::shorts).
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn shorts(d: Dtype, panel: &Panel, x: &[Short], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    by_type!(d, shorts_of(panel, x, stride, first, out));
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn shorts_of<const D: usize>(panel: &Panel, x: &[Short], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    let (runs, size) = (Of::<D>::TYPE.block_len() / STEP, Of::<D>::TYPE.block_bytes());
    for group in (0..LANES).step_by(ROWS) {
        let rows: [_; ROWS] = std::array::from_fn(|lane| panel.row(Of::<D>::TYPE, group + lane));
        for (block, x) in x.chunks_exact(stride * runs).enumerate().take(panel.columns / Of::<D>::TYPE.block_len()) {
            let mut blocks: [&[u8]; ROWS] = [&[]; ROWS];
            for (all, row) in blocks.iter_mut().zip(&rows) {
                *all = &row[block * size..][..size];
                // The rows that come next lie behind these: each is too short for the processor to foresee it.
                for line in (0..size).step_by(LINE) {
                    _mm_prefetch::<_MM_HINT_T0>(all.as_ptr().wrapping_add(ROWS * row.len() + line).cast());
                }
            }
            let scales = Scales::new::<D>(&blocks);
            for (i, x) in x.chunks_exact(stride).enumerate() {
                let weights = Weights::new::<D>(&blocks, &scales, i);
                for (x, out) in x[first..].iter().zip(out.iter_mut()) {
                    let out = &mut out[group..group + ROWS];
                    // SAFETY: eight sums.
                    unsafe {
                        let sums = weights.add::<D>(x, _mm256_loadu_ps(out.as_ptr()));
                        _mm256_storeu_ps(out.as_mut_ptr(), sums);
                    }
                }
            }
        }
    }
}

/// The scales of a block of each of eight rows.
struct Scales {
    /// The factor of all runs, and that of their minima.
    all: [__m256; 2],
    /// Of K types, for each run the scales and then for each the minima, for Q6_K those of each half: integers, a row each.
    each: [[u8; ROWS]; 16],
}

impl Scales {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new<const D: usize>(blocks: &[&[u8]; ROWS]) -> Self {
        let halves = |at: usize| {
            let mut bits = [0; ROWS];
            for (bits, block) in bits.iter_mut().zip(blocks) {
                *bits = u16::from_le_bytes([block[at], block[at + 1]]);
            }
            // SAFETY: eight values of 16 bits.
            unsafe { _mm256_cvtph_ps(_mm_loadu_si128(bits.as_ptr().cast())) }
        };
        let mut each = [[0; ROWS]; 16];
        if Of::<D>::TYPE.block_len() > STEP {
            let mut bytes = [[0; ROWS]; 2];
            for (row, block) in blocks.iter().enumerate() {
                [bytes[0][row], bytes[1][row]] = scale_bytes(Of::<D>::TYPE, block);
            }
            let (first, second) = each.split_at_mut(ROWS);
            transpose(bytes[0], first.as_flattened_mut());
            transpose(bytes[1], second.as_flattened_mut());
        }
        let zero = _mm256_setzero_ps();
        let all = match Of::<D>::TYPE {
            Dtype::Q6_K => [halves(208), zero],
            _ => [halves(0), if has_min(Of::<D>::TYPE) { halves(2) } else { zero }],
        };
        Self { all, each }
    }

    /// The scales of the halves of run `i`, and the minimum.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn run<const D: usize>(&self, i: usize) -> ([__m256; 2], __m256) {
        // SAFETY: eight bytes.
        let bytes = |bytes: &[u8; ROWS]| unsafe { _mm_loadl_epi64(bytes.as_ptr().cast()) };
        match Of::<D>::TYPE {
            Dtype::Q6_K => {
                let scale = |at: usize| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes(&self.each[at])));
                let of = |half: usize| _mm256_mul_ps(self.all[0], scale(2 * i + half));
                ([of(0), of(1)], self.all[1])
            }
            Dtype::Q4_K | Dtype::Q5_K => {
                let of = |at: usize| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes(&self.each[at])));
                let min = _mm256_mul_ps(self.all[1], of(ROWS + i));
                ([_mm256_mul_ps(self.all[0], of(i)); 2], _mm256_xor_ps(min, _mm256_set1_ps(-0.0)))
            }
            _ => ([self.all[0]; 2], self.all[1]),
        }
    }
}

/// Eight rows of eight bytes, the lowest first, to eight columns.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [u64; 8], out: &mut [u8]) {
    let row = |row: usize| _mm_cvtsi64_si128(rows[row].cast_signed());
    let pair = |a: usize| _mm_unpacklo_epi8(row(a), row(a + 1));
    let (ab, cd, ef, gh) = (pair(0), pair(2), pair(4), pair(6));
    let (a, c) = (_mm_unpacklo_epi16(ab, cd), _mm_unpacklo_epi16(ef, gh));
    let (b, d) = (_mm_unpackhi_epi16(ab, cd), _mm_unpackhi_epi16(ef, gh));
    let all = [_mm_unpacklo_epi32(a, c), _mm_unpackhi_epi32(a, c), _mm_unpacklo_epi32(b, d), _mm_unpackhi_epi32(b, d)];
    for (out, two) in out.chunks_exact_mut(16).zip(all) {
        // SAFETY: sixteen bytes.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), two) };
    }
}

/// A run of 32 weights of each of eight rows.
struct Weights {
    w: [[__m256i; 2]; ROWS],
    /// For each half of the run.
    scale: [__m256; 2],
    min: __m256,
}

impl Weights {
    /// Run `i` of blocks.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new<const D: usize>(blocks: &[&[u8]; ROWS], scales: &Scales, i: usize) -> Self {
        let mut w = [[_mm256_setzero_si256(); 2]; ROWS];
        for (w, block) in w.iter_mut().zip(blocks) {
            *w = integers::<D>(block, i);
        }
        let (scale, min) = scales.run::<D>(i);
        Self { w, scale, min }
    }

    /// Adds the products with one column to the sums of eight rows.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn add<const D: usize>(&self, x: &Short, mut sums: __m256) -> __m256 {
        // Integers of eight bits are taken with their sign.
        let centre = if Of::<D>::TYPE == Dtype::Q8_0 { 0 } else { centre(Of::<D>::TYPE) };
        let half = |half: usize| {
            // SAFETY: 16 values of 16 bits.
            let x = unsafe { _mm256_loadu_si256(x.q.as_ptr().add(16 * half).cast()) };
            let mut products = [_mm256_setzero_si256(); ROWS];
            for (products, w) in products.iter_mut().zip(&self.w) {
                *products = _mm256_madd_epi16(w[half], x);
            }
            products
        };
        let scaled = |sum: __m256i, less: i32, scale: __m256, sums: __m256| {
            let sum = _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, _mm256_set1_epi32(less)));
            _mm256_fmadd_ps(sum, _mm256_mul_ps(scale, _mm256_set1_ps(x.scale)), sums)
        };
        let (a, b) = (half(0), half(1));
        if Of::<D>::TYPE == Dtype::Q6_K {
            sums = scaled(totals(&a), centre * x.sums[0], self.scale[0], sums);
            sums = scaled(totals(&b), centre * x.sums[1], self.scale[1], sums);
        } else {
            let mut both = a;
            for (both, b) in both.iter_mut().zip(b) {
                *both = _mm256_add_epi32(*both, b);
            }
            sums = scaled(totals(&both), centre * (x.sums[0] + x.sums[1]), self.scale[0], sums);
        }
        if has_min(Of::<D>::TYPE) {
            sums = _mm256_fmadd_ps(self.min, _mm256_set1_ps(x.sum), sums);
        }
        sums
    }
}

/// The integers of run `i` of a block: those of [`portable`](crate::matmul::portable), but of Q8_0 with their sign.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn integers<const D: usize>(block: &[u8], i: usize) -> [__m256i; 2] {
    let block = &block[..Of::<D>::TYPE.block_bytes()];
    // Sixteen bytes from a place on.
    let bytes = |from: usize| -> __m128i {
        let bytes = &block[from..from + 16];
        // SAFETY: sixteen bytes.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    };
    let and = |v: __m128i, bits: i8| _mm_and_si128(v, _mm_set1_epi8(bits));
    // The low halves of bytes, or the high ones.
    let half = |v: __m128i, high: usize| and(_mm_srl_epi16(v, _mm_cvtsi64_si128(4 * high as i64)), 15);
    // Sixteen bits, those of the values from a place on: 16 where one is set.
    let fifths = |from: usize, at: usize| {
        let bits = _mm256_set1_epi16(i16::from_le_bytes([block[from + at / 8], block[from + at / 8 + 1]]));
        let each = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, i16::MIN);
        let set = _mm256_cmpeq_epi16(_mm256_and_si256(bits, each), each);
        _mm256_and_si256(set, _mm256_set1_epi16(16))
    };
    let wide = |v: __m128i| _mm256_cvtepu8_epi16(v);
    let mut parts = [_mm256_setzero_si256(); 2];
    for (part, at) in parts.iter_mut().zip([0, 16]) {
        *part = match Of::<D>::TYPE {
            Dtype::Q8_0 => _mm256_cvtepi8_epi16(bytes(2 + at)),
            Dtype::Q4_0 => wide(half(bytes(2), at / 16)),
            Dtype::Q4_1 => wide(half(bytes(4), at / 16)),
            Dtype::Q5_0 => _mm256_or_si256(wide(half(bytes(6), at / 16)), fifths(2, at)),
            Dtype::Q5_1 => _mm256_or_si256(wide(half(bytes(8), at / 16)), fifths(4, at)),
            Dtype::Q4_K => wide(half(bytes(16 + i / 2 * 32 + at), i % 2)),
            Dtype::Q5_K => {
                let bit = _mm_set1_epi8((1u8 << i).cast_signed());
                let high = and(_mm_cmpeq_epi8(_mm_and_si128(bytes(16 + at), bit), bit), 16);
                wide(_mm_or_si128(half(bytes(48 + i / 2 * 32 + at), i % 2), high))
            }
            _ => {
                let (part, i) = (i / 4, i % 4);
                // Two bits from bit 2·i on, brought to bit 4.
                let pairs = _mm_slli_epi16::<4>(and(
                    _mm_srl_epi16(bytes(128 + part * 32 + at), _mm_cvtsi64_si128(2 * i as i64)),
                    3,
                ));
                wide(_mm_or_si128(half(bytes(part * 64 + i % 2 * 32 + at), i / 2), pairs))
            }
        };
    }
    parts
}

/// The totals of eight times eight integers.
#[inline]
#[target_feature(enable = "avx2")]
fn totals(v: &[__m256i; ROWS]) -> __m256i {
    let pair = |a, b| _mm256_hadd_epi32(a, b);
    let low = pair(pair(v[0], v[1]), pair(v[2], v[3])); // four rows, a half of each in either half
    let high = pair(pair(v[4], v[5]), pair(v[6], v[7]));
    _mm256_add_epi32(_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high))
}
