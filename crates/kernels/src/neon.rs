//! Weights in blocks with NEON's products of bytes: [`portable`](crate::matmul::portable) bit for bit. Four rows at a time are unpacked to
//! bytes; for each column `sdot` multiplies a row with the high and the low bytes of the inputs, and the sums of four rows are brought
//! into the four lanes of a register.

#![allow(unsafe_code)]

use std::arch::aarch64::*;
use std::arch::asm;

use crate::dtype::Dtype;
use crate::matmul::columns::{LANES, STEP, Step};
use crate::matmul::portable::{Of, by_type, centre, has_min, scale_bytes};
use crate::matmul::rows::Panel;

/// Rows that are computed together.
const ROWS: usize = 4;

/// As [`portable::shorts`](crate::matmul::portable::shorts), for columns in bytes.
#[target_feature(enable = "dotprod")]
pub(crate) fn steps(d: Dtype, panel: &Panel, x: &[Step], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    by_type!(d, steps_of(panel, x, stride, first, out));
}

#[inline]
#[target_feature(enable = "dotprod")]
fn steps_of<const D: usize>(panel: &Panel, x: &[Step], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    let (runs, size) = (Of::<D>::TYPE.block_len() / STEP, Of::<D>::TYPE.block_bytes());
    for group in (0..LANES).step_by(ROWS) {
        let rows: [_; ROWS] = std::array::from_fn(|lane| panel.row(Of::<D>::TYPE, group + lane));
        for (block, x) in x.chunks_exact(stride * runs).enumerate().take(panel.columns / Of::<D>::TYPE.block_len()) {
            let mut blocks: [&[u8]; ROWS] = [&[]; ROWS];
            for (all, row) in blocks.iter_mut().zip(&rows) {
                *all = &row[block * size..][..size];
            }
            let scales = Scales::new::<D>(&blocks);
            for (i, x) in x.chunks_exact(stride).enumerate() {
                let weights = Weights::new::<D>(&blocks, &scales, i);
                for (x, out) in x[first..].iter().zip(out.iter_mut()) {
                    let out = &mut out[group..group + ROWS];
                    // SAFETY: four sums.
                    unsafe { vst1q_f32(out.as_mut_ptr(), weights.add::<D>(x, vld1q_f32(out.as_ptr()))) };
                }
            }
        }
    }
}

/// The scales of a block of each of four rows.
struct Scales {
    /// The factor of all runs, and that of their minima.
    all: [float32x4_t; 2],
    /// Of K types, for each run the scales and then for each the minima, for Q6_K those of each half: integers, eight of a row after
    /// eight of the next.
    each: [uint8x16x2_t; 2],
}

impl Scales {
    #[inline]
    #[target_feature(enable = "dotprod")]
    fn new<const D: usize>(blocks: &[&[u8]; ROWS]) -> Self {
        let halves = |at: usize| {
            let mut bits = [0; ROWS];
            for (bits, block) in bits.iter_mut().zip(blocks) {
                *bits = u16::from_le_bytes([block[at], block[at + 1]]);
            }
            // SAFETY: four values of 16 bits.
            widen(unsafe { vld1_u16(bits.as_ptr()) })
        };
        let none = uint8x16x2_t(vdupq_n_u8(0), vdupq_n_u8(0));
        let mut each = [none; 2];
        if Of::<D>::TYPE.block_len() > STEP {
            let mut bytes = [[0; ROWS]; 2];
            for (row, block) in blocks.iter().enumerate() {
                [bytes[0][row], bytes[1][row]] = scale_bytes(Of::<D>::TYPE, block);
            }
            for (each, bytes) in each.iter_mut().zip(&bytes) {
                // SAFETY: 32 bytes.
                *each = unsafe { vld1q_u8_x2(bytes.as_ptr().cast()) };
            }
        }
        let zero = vdupq_n_f32(0.0);
        let all = match Of::<D>::TYPE {
            Dtype::Q6_K => [halves(208), zero],
            _ => [halves(0), if has_min(Of::<D>::TYPE) { halves(2) } else { zero }],
        };
        Self { all, each }
    }

    /// Integer `at` of each row, in the first four bytes.
    #[inline]
    #[target_feature(enable = "dotprod")]
    fn integers(&self, part: usize, at: usize) -> uint8x8_t {
        let rows = vcreate_u8(u64::from_le_bytes([0, 8, 16, 24, 0, 0, 0, 0]));
        vqtbl2_u8(self.each[part], vadd_u8(rows, vdup_n_u8(at as u8)))
    }

    /// The scales of the halves of run `i`, and the minimum.
    #[inline]
    #[target_feature(enable = "dotprod")]
    fn run<const D: usize>(&self, i: usize) -> ([float32x4_t; 2], float32x4_t) {
        match Of::<D>::TYPE {
            Dtype::Q6_K => {
                let scale = |at: usize| {
                    let wide = vmovl_s8(vreinterpret_s8_u8(self.integers(at / 8, at % 8)));
                    vmulq_f32(self.all[0], vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))))
                };
                ([scale(2 * i), scale(2 * i + 1)], self.all[1])
            }
            Dtype::Q4_K | Dtype::Q5_K => {
                let of = |part: usize| {
                    let wide = vmovl_u8(self.integers(part, i));
                    vmulq_f32(self.all[part], vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide))))
                };
                ([of(0); 2], vnegq_f32(of(1)))
            }
            _ => ([self.all[0]; 2], self.all[1]),
        }
    }
}

/// A run of 32 weights of each of four rows.
struct Weights {
    w: [[int8x16_t; 2]; ROWS],
    /// For each half of the run.
    scale: [float32x4_t; 2],
    min: float32x4_t,
}

impl Weights {
    /// Run `i` of blocks.
    #[inline]
    #[target_feature(enable = "dotprod")]
    fn new<const D: usize>(blocks: &[&[u8]; ROWS], scales: &Scales, i: usize) -> Self {
        let mut w = [[vdupq_n_s8(0); 2]; ROWS];
        for (w, block) in w.iter_mut().zip(blocks) {
            *w = integers::<D>(block, i);
        }
        let (scale, min) = scales.run::<D>(i);
        Self { w, scale, min }
    }

    /// Adds the products with one column to the sums of four rows.
    #[inline]
    #[target_feature(enable = "dotprod")]
    fn add<const D: usize>(&self, x: &Step, mut sums: float32x4_t) -> float32x4_t {
        // Integers of eight bits are taken with their sign.
        let centre = if Of::<D>::TYPE == Dtype::Q8_0 { 0 } else { centre(Of::<D>::TYPE) };
        // SAFETY: 16 bytes.
        let bytes = |bytes: &[i8; STEP], half: usize| unsafe { vld1q_s8(bytes.as_ptr().add(16 * half)) };
        let half = |[mut hi, mut lo]: [[int32x4_t; ROWS]; 2], half: usize| {
            let (x_hi, x_lo) = (bytes(&x.hi, half), bytes(&x.lo, half));
            for row in 0..ROWS {
                let w = self.w[row][half];
                (hi[row], lo[row]) = (dot(hi[row], w, x_hi), dot(lo[row], w, x_lo));
            }
            [hi, lo]
        };
        let scaled = |[hi, lo]: [[int32x4_t; ROWS]; 2], less: i32, scale: float32x4_t, sums: float32x4_t| {
            let sum = vaddq_s32(vshlq_n_s32::<8>(totals(&hi)), totals(&lo));
            let sum = vcvtq_f32_s32(vsubq_s32(sum, vdupq_n_s32(less)));
            vfmaq_f32(sums, sum, vmulq_n_f32(scale, x.scale))
        };
        let zero = [[vdupq_n_s32(0); ROWS]; 2];
        if Of::<D>::TYPE == Dtype::Q6_K {
            sums = scaled(half(zero, 0), centre * x.sums[0], self.scale[0], sums);
            sums = scaled(half(zero, 1), centre * x.sums[1], self.scale[1], sums);
        } else {
            sums = scaled(half(half(zero, 0), 1), centre * (x.sums[0] + x.sums[1]), self.scale[0], sums);
        }
        if has_min(Of::<D>::TYPE) {
            sums = vfmaq_n_f32(sums, self.min, x.sum);
        }
        sums
    }
}

/// The integers of run `i` of a block: those of [`portable`](crate::matmul::portable), but of Q8_0 with their sign.
#[inline]
#[target_feature(enable = "dotprod")]
fn integers<const D: usize>(block: &[u8], i: usize) -> [int8x16_t; 2] {
    const BITS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    let block = &block[..Of::<D>::TYPE.block_bytes()];
    // Sixteen bytes from a place on.
    let bytes = |from: usize| {
        let bytes = &block[from..from + 16];
        // SAFETY: sixteen bytes.
        unsafe { vld1q_u8(bytes.as_ptr()) }
    };
    // The low halves of bytes, or the high ones.
    let half = |v: uint8x16_t, high: usize| vandq_u8(vshlq_u8(v, vdupq_n_s8(-4 * high as i8)), vdupq_n_u8(15));
    // 16 where one of the bits is set.
    let sixteen = |v: uint8x16_t, bits: uint8x16_t| vandq_u8(vtstq_u8(v, bits), vdupq_n_u8(16));
    // The same of sixteen bits, those of the values from a place on.
    let fifths = |from: usize, at: usize| {
        let pair = &block[from + at / 8..][..2];
        // SAFETY: sixteen bytes.
        let bits = unsafe { vld1q_u8(BITS.as_ptr()) };
        sixteen(vcombine_u8(vdup_n_u8(pair[0]), vdup_n_u8(pair[1])), bits)
    };
    let mut parts = [vdupq_n_s8(0); 2];
    for (part, at) in parts.iter_mut().zip([0, 16]) {
        *part = vreinterpretq_s8_u8(match Of::<D>::TYPE {
            Dtype::Q8_0 => bytes(2 + at),
            Dtype::Q4_0 => half(bytes(2), at / 16),
            Dtype::Q4_1 => half(bytes(4), at / 16),
            Dtype::Q5_0 => vorrq_u8(half(bytes(6), at / 16), fifths(2, at)),
            Dtype::Q5_1 => vorrq_u8(half(bytes(8), at / 16), fifths(4, at)),
            Dtype::Q4_K => half(bytes(16 + i / 2 * 32 + at), i % 2),
            Dtype::Q5_K => {
                let high = sixteen(bytes(16 + at), vdupq_n_u8(1 << i));
                vorrq_u8(half(bytes(48 + i / 2 * 32 + at), i % 2), high)
            }
            _ => {
                let (part, i) = (i / 4, i % 4);
                // Two bits from bit 2·i on, brought to bit 4.
                let pairs = vshlq_u8(bytes(128 + part * 32 + at), vdupq_n_s8(4 - 2 * i as i8));
                vorrq_u8(half(bytes(part * 64 + i % 2 * 32 + at), i / 2), vandq_u8(pairs, vdupq_n_u8(48)))
            }
        });
    }
    parts
}

/// Adds to each of four integers the products of four bytes.
#[inline]
#[target_feature(enable = "dotprod")]
fn dot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction changes this register alone. The intrinsic for it, `vdotq_s32`, is not stable yet.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sums, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

/// Four f16 as f32.
#[inline]
#[target_feature(enable = "dotprod")]
fn widen(halves: uint16x4_t) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: as above; the intrinsic wants a type that is not stable yet.
    unsafe {
        asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) wide, in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags));
    }
    wide
}

/// The totals of four times four integers.
#[inline]
#[target_feature(enable = "dotprod")]
fn totals(v: &[int32x4_t; ROWS]) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3]))
}
