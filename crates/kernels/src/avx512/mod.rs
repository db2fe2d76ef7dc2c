//! The kernels with AVX-512: [`portable`](crate::matmul::portable) bit for bit, many times as fast.
//!
//! A panel's sixteen rows lie in the sixteen lanes of a register. Integers are multiplied four at a time by `vpdpbusd`
//! (VNNI), once with the high and once with the low bytes of the inputs; pairs of bf16 by `vdpbf16ps`.

// Every function here needs the instructions it is compiled for, and reads weights through the pointers of a panel.
#![allow(unsafe_code, unsafe_op_in_unsafe_fn)]

mod blocks;
mod plain;
mod turn;

use std::arch::x86_64::*;

use half::bf16 as Bf16;

use self::blocks::{Blocks, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Weights};
use self::plain::{F16, F32, Plain, Wide};
use self::turn::{Pointers, turn16};
use crate::dtype::Dtype;
use crate::matmul::columns::{LANES, STEP, Step};
use crate::matmul::rows::Panel;

/// As [`portable::steps`](crate::matmul::portable::steps).
///
/// # Safety
/// The processor has AVX-512 F, BW, VL, DQ and VNNI. `x` has `stride` columns a step, `first + out.len()` of them at least.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(crate) unsafe fn steps(d: Dtype, panel: &Panel, x: &[Step], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    match d {
        Dtype::Q8_0 => all::<Q8_0>(panel, x, stride, first, out),
        Dtype::Q4_0 => all::<Q4_0>(panel, x, stride, first, out),
        Dtype::Q4_1 => all::<Q4_1>(panel, x, stride, first, out),
        Dtype::Q5_0 => all::<Q5_0>(panel, x, stride, first, out),
        Dtype::Q5_1 => all::<Q5_1>(panel, x, stride, first, out),
        Dtype::Q4_K => all::<Q4K>(panel, x, stride, first, out),
        Dtype::Q5_K => all::<Q5K>(panel, x, stride, first, out),
        _ => all::<Q6K>(panel, x, stride, first, out),
    }
}

/// All blocks of a panel.
///
/// # Safety
/// As [`steps`]; the rows of the panel are of type `B`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn all<B: Blocks>(panel: &Panel, x: &[Step], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    let rows = Pointers::new(panel);
    let runs = B::LEN / STEP;
    let mut ahead = Ahead::new(panel, panel.columns / STEP);
    for (block, x) in x.chunks_exact(stride * runs).enumerate() {
        B::unpack(&rows, block * B::BYTES, |run, weights| {
            ahead.step();
            columns::<B>(weights, &x[run * stride + first..][..out.len()], out);
        });
    }
}

/// One run of 32 weights a row, over all columns.
///
/// # Safety
/// As [`steps`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn columns<B: Blocks>(weights: &Weights, x: &[Step], out: &mut [[f32; LANES]]) {
    let w = &weights.u;
    for (x, out) in x.iter().zip(out) {
        let dword =
            |bytes: &[i8; STEP], k: usize| _mm512_set1_epi32(bytes.as_ptr().cast::<i32>().add(k).read_unaligned());
        let dot = |from: usize, to: usize, sum: i32| {
            let (mut high, mut low) = (_mm512_setzero_si512(), _mm512_set1_epi32(sum.wrapping_neg() << B::CENTRE));
            if B::CENTRE == 0 {
                low = _mm512_setzero_si512();
            }
            for k in from..to {
                high = _mm512_dpbusd_epi32(high, w[k], dword(&x.hi, k));
                low = _mm512_dpbusd_epi32(low, w[k], dword(&x.lo, k));
            }
            _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32::<8>(high), low))
        };
        let scale = _mm512_set1_ps(x.scale);
        let mut y = _mm512_loadu_ps(out.as_ptr());
        if B::HALVES {
            y = _mm512_fmadd_ps(dot(0, 4, x.sums[0]), _mm512_mul_ps(weights.scale[0], scale), y);
            y = _mm512_fmadd_ps(dot(4, 8, x.sums[1]), _mm512_mul_ps(weights.scale[1], scale), y);
        } else {
            let sum = if B::CENTRE == 0 { 0 } else { x.sums[0] + x.sums[1] };
            y = _mm512_fmadd_ps(dot(0, 8, sum), _mm512_mul_ps(weights.scale[0], scale), y);
        }
        if B::MIN {
            y = _mm512_fmadd_ps(weights.min, _mm512_set1_ps(x.sum), y);
        }
        _mm512_storeu_ps(out.as_mut_ptr(), y);
    }
}

/// As [`portable::floats`](crate::matmul::portable::floats).
///
/// # Safety
/// As [`steps`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) unsafe fn floats(
    d: Dtype,
    panel: &Panel,
    x: &[[f32; LANES]],
    stride: usize,
    first: usize,
    out: &mut [[f32; LANES]],
) {
    match d {
        Dtype::F32 => plain::<F32>(panel, x, stride, first, out),
        Dtype::F16 => plain::<F16>(panel, x, stride, first, out),
        _ => plain::<Wide>(panel, x, stride, first, out),
    }
}

/// All values of a panel, sixteen at a time.
///
/// # Safety
/// As [`steps`]; the rows are of type `P`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn plain<P: Plain>(panel: &Panel, x: &[[f32; LANES]], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    let rows = Pointers::new(panel);
    let (whole, tail) = (panel.columns / LANES, panel.columns % LANES);
    let mut ahead = Ahead::new(panel, whole);
    for (index, x) in x.chunks_exact(stride).enumerate() {
        ahead.step();
        let x = &x[first..first + out.len()];
        let at = index * LANES * P::BYTES;
        if index < whole {
            fused(P::turn(&rows, at), x, out);
        } else {
            let padded = Padded::new(panel, at, tail * P::BYTES);
            fused(P::turn(&padded.pointers(), 0), x, out);
        }
    }
}

/// Sixteen weights a row, over all columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn fused(w: [__m512; LANES], x: &[[f32; LANES]], out: &mut [[f32; LANES]]) {
    for (x, out) in x.iter().zip(out) {
        // SAFETY: both are sixteen floats.
        let mut y = unsafe { _mm512_loadu_ps(out.as_ptr()) };
        for k in 0..LANES {
            y = _mm512_fmadd_ps(w[k], _mm512_set1_ps(x[k]), y);
        }
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), y) };
    }
}

/// Adds a panel's products with columns of bf16 to `out`. Each product of a pair is added by the processor's own rule: no
/// denormals, and a rounding after each of the two.
///
/// # Safety
/// As [`steps`], with BF16; the rows are of bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(crate) unsafe fn bf16(panel: &Panel, x: &[[Bf16; STEP]], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    let rows = Pointers::new(panel);
    let tail = panel.columns % STEP;
    let whole = panel.columns / STEP;
    let mut ahead = Ahead::new(panel, whole);
    for (index, x) in x.chunks_exact(stride).enumerate() {
        ahead.step();
        let x = &x[first..first + out.len()];
        let at = index * STEP * 2;
        if index < whole {
            dots(turn16(&rows, at), x, out);
        } else {
            let padded = Padded::new(panel, at, tail * 2);
            dots(turn16(&padded.pointers(), 0), x, out);
        }
    }
}

/// Sixteen pairs of bf16 a row, over all columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
fn dots(w: [__m512i; LANES], x: &[[Bf16; STEP]], out: &mut [[f32; LANES]]) {
    for (x, out) in x.iter().zip(out) {
        // SAFETY: both are sixteen floats.
        let mut y = unsafe { _mm512_loadu_ps(out.as_ptr()) };
        for k in 0..LANES {
            // SAFETY: 32 halves are sixteen pairs; the vector types are bits alike.
            y = unsafe {
                let pair = _mm512_set1_epi32(x.as_ptr().cast::<i32>().add(k).read_unaligned());
                _mm512_dpbf16_ps(
                    y,
                    std::mem::transmute::<__m512i, __m512bh>(w[k]),
                    std::mem::transmute::<__m512i, __m512bh>(pair),
                )
            };
        }
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), y) };
    }
}

/// Fetches the next panel into the second cache while this one is computed, in order, as memory likes it: the sixteen
/// rows of a panel are too many streams for the processor to foresee.
struct Ahead {
    at: *const i8,
    /// Lines left, and lines a step.
    left: usize,
    lines: usize,
}

impl Ahead {
    const LINE: usize = 64;

    fn new(panel: &Panel, steps: usize) -> Self {
        let left = panel.next.len().div_ceil(Self::LINE);
        Self { at: panel.next.as_ptr().cast(), left, lines: left.div_ceil(steps.max(1)) }
    }

    #[inline(always)]
    fn step(&mut self) {
        let lines = self.lines.min(self.left);
        for _ in 0..lines {
            // SAFETY: a prefetch reads nothing that the program sees and cannot fail, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(self.at) };
            self.at = self.at.wrapping_add(Self::LINE);
        }
        self.left -= lines;
    }
}

/// The ends of rows that are not whole steps, followed by zeros.
struct Padded([[u8; 64]; LANES]);

impl Padded {
    fn new(panel: &Panel, at: usize, len: usize) -> Self {
        let mut padded = [[0; 64]; LANES];
        for (row, padded) in panel.rows.iter().zip(&mut padded) {
            padded[..len].copy_from_slice(&row[at..at + len]);
        }
        Self(padded)
    }

    fn pointers(&self) -> Pointers {
        Pointers(self.0.each_ref().map(|row| row.as_ptr()))
    }
}
