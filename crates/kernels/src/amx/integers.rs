//! Blocks of integers in tiles: the bytes of sixteen columns against a run of the sixteen rows, as in [`avx512`](crate::avx512), bit for
//! bit: sums of integers are exact. A few columns are left to that.
//!
//! To store a tile of sums takes the ports of vector instructions, so that it and the scaling take longer than the products.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Sizes, Tiles};
use crate::avx512::blocks::{Blocks, Weights};
use crate::avx512::{Runs, over};
use crate::dtype::Dtype;
use crate::matmul::columns::{LANES, LINE, Lined, STEP, Sixteen};
use crate::matmul::rows::Panel;

/// One tile of weights, two of inputs, four of sums; the same for half a run.
static BYTES: Sizes =
    Sizes::new([(64, 8), (STEP as u8, 16), (STEP as u8, 16), (64, 16), (64, 16), (64, 16), (64, 16), (0, 0)]);
static HALVES: Sizes = Sizes::new([(64, 4), (16, 16), (16, 16), (64, 16), (64, 16), (64, 16), (64, 16), (0, 0)]);

/// Products of a run of weights, 32 a row or 16, with sixteen columns: of the high bytes in one tile, of the low ones in another.
///
/// Tiles keep what they hold from one of these to the next: no other code here, and nothing that is compiled for these functions,
/// uses them.
macro_rules! product {
    ($w:expr, $x:expr, $high:literal, $low:literal) => {
        asm!(
            "tileloadd tmm0, [{w} + {l}*1]",
            "tileloadd tmm1, [{x} + {s}*1]",
            "tileloadd tmm2, [{x} + {s}*1 + 512]",
            concat!("tilezero ", $high),
            concat!("tilezero ", $low),
            concat!("tdpbssd ", $high, ", tmm1, tmm0"),
            concat!("tdpbssd ", $low, ", tmm2, tmm0"),
            w = in(reg) $w,
            x = in(reg) $x,
            l = in(reg) LINE,
            s = in(reg) STEP,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack, preserves_flags),
        )
    };
}

/// Where these two go.
macro_rules! store {
    ($out:expr, $high:literal, $low:literal) => {
        asm!(
            concat!("tilestored [{out} + {l}*1], ", $high),
            concat!("tilestored [{out} + {l}*1 + 1024], ", $low),
            out = in(reg) $out,
            l = in(reg) LINE,
            options(nostack, preserves_flags),
        )
    };
}

/// Sums of high and of low bytes, `[column][row]`.
type Sums = [[[i32; LANES]; LANES]; 2];
/// Runs of weights that are held until they go over the columns together, whose sums stay in registers meanwhile.
const HELD: usize = 16;

/// Columns, sixteen together.
struct Many<'a> {
    /// Those of a block of columns begin `steps` after those of the block before.
    x: &'a [Sixteen],
    steps: usize,
    out: &'a mut [[f32; LANES]],
    sums: Lined<[Sums; 2]>,
    held: Vec<Weights>,
}

impl Runs for Many<'_> {
    const LONG: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn run<B: Blocks>(&mut self, _panel: usize, step: usize, weights: &Weights) {
        let centre = _mm512_set1_epi8((1u8 << B::CENTRE).cast_signed());
        let u = if B::CENTRE == 0 { weights.u } else { weights.u.map(|u| _mm512_sub_epi8(u, centre)) };
        self.held.push(Weights { u, ..*weights });
        if self.held.len() == HELD {
            self.flush::<B>(step + 1 - HELD);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn end<B: Blocks>(&mut self, steps: usize) {
        if !self.held.is_empty() {
            self.flush::<B>(steps - self.held.len());
        }
    }
}

impl Many<'_> {
    /// Adds the products of what is held with all columns; it begins at step `step`.
    ///
    /// # Safety
    /// [`is_there`]; the tiles are [`BYTES`] or [`HALVES`].
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn flush<B: Blocks>(&mut self, step: usize) {
        let sums = &mut self.sums.0;
        for (block, out) in self.out.chunks_mut(LANES).enumerate() {
            let x = &self.x[block * self.steps + step..][..self.held.len()];
            match out.as_mut_array::<LANES>() {
                Some(out) => columns::<B>(&self.held, x, sums, out),
                None => {
                    let mut all = [[0.0; LANES]; LANES];
                    all[..out.len()].copy_from_slice(out);
                    columns::<B>(&self.held, x, sums, &mut all);
                    out.copy_from_slice(&all[..out.len()]);
                }
            }
        }
        self.held.clear();
    }
}

/// Sums of eight columns: so few that loops over them are unrolled, and the sums of two eights stay in registers.
type Eight = [__m512; LANES / 2];

/// Adds the products of runs with a block of columns.
///
/// # Safety
/// As [`Many::flush`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn columns<B: Blocks>(runs: &[Weights], x: &[Sixteen], sums: &mut [Sums; 2], out: &mut [[f32; LANES]; LANES]) {
    let halves = 1 + usize::from(B::HALVES);
    let count = runs.len() * halves;
    assert!(runs.len() == x.len(), "a run for each step");
    let w = |index: usize| runs[index / halves].u.as_ptr().add(4 * (index % halves));
    let at = |index: usize| x[index / halves].hi.as_ptr().cast::<u8>().add(STEP / 2 * (index % halves));
    let mut y = [load(out, 0), load(out, LANES / 2)];
    product!(w(0), at(0), "tmm3", "tmm4");
    for index in (0..count).step_by(2) {
        // The next product is on its way before this one is waited for.
        let next = index + 1;
        if next < count {
            product!(w(next), at(next), "tmm5", "tmm6");
        }
        store!(sums[0].as_mut_ptr(), "tmm3", "tmm4");
        let (weights, columns) = (&runs[index / halves], &x[index / halves]);
        y[0] = scaled::<B>(weights, index % halves, columns, &sums[0], 0, y[0]);
        y[1] = scaled::<B>(weights, index % halves, columns, &sums[0], LANES / 2, y[1]);
        if next == count {
            break;
        }
        if next + 1 < count {
            product!(w(next + 1), at(next + 1), "tmm3", "tmm4");
        }
        store!(sums[1].as_mut_ptr(), "tmm5", "tmm6");
        let (weights, columns) = (&runs[next / halves], other(&x[next / halves]));
        y[0] = scaled::<B>(weights, next % halves, columns, &sums[1], 0, y[0]);
        y[1] = scaled::<B>(weights, next % halves, columns, &sums[1], LANES / 2, y[1]);
    }
    for c in 0..LANES / 2 {
        _mm512_storeu_ps(out[c].as_mut_ptr(), y[0][c]);
    }
    for c in 0..LANES / 2 {
        _mm512_storeu_ps(out[LANES / 2 + c].as_mut_ptr(), y[1][c]);
    }
}

/// The same columns, which the compiler takes for others: scales that two halves of a run have in common would be kept in registers
/// that the sums need.
#[inline]
fn other(x: &Sixteen) -> &Sixteen {
    let mut at: *const Sixteen = x;
    // SAFETY: nothing happens, and the place is that of `x`.
    unsafe {
        asm!("/* {0} */", inout(reg) at, options(nostack, preserves_flags));
        &*at
    }
}

/// The sums of eight columns from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn load(out: &[[f32; LANES]; LANES], first: usize) -> Eight {
    let mut y = [_mm512_setzero_ps(); LANES / 2];
    for (y, out) in y.iter_mut().zip(&out[first..]) {
        // SAFETY: sixteen values.
        *y = unsafe { _mm512_loadu_ps(out.as_ptr()) };
    }
    y
}

/// Adds sums of integers to those of eight columns from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn scaled<B: Blocks>(weights: &Weights, half: usize, x: &Sixteen, sums: &Sums, first: usize, mut y: Eight) -> Eight {
    for (i, y) in y.iter_mut().enumerate() {
        let c = first + i;
        // SAFETY: sixteen sums each.
        let [high, low] = unsafe { [0, 1].map(|part| _mm512_load_si512(sums[part][c].as_ptr().cast())) };
        let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32::<8>(high), low));
        *y = _mm512_fmadd_ps(sum, _mm512_mul_ps(weights.scale[half], _mm512_set1_ps(x.scale[c])), *y);
        if B::MIN {
            *y = _mm512_fmadd_ps(weights.min, _mm512_set1_ps(x.sum[c]), *y);
        }
    }
    y
}

/// As [`avx512::steps`](crate::avx512::steps), for columns that lie together.
///
/// # Safety
/// [`is_there`], and as that.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(crate) unsafe fn integers(d: Dtype, panel: &Panel, x: &[Sixteen], steps: usize, out: &mut [[f32; LANES]]) {
    let _tiles = Tiles::new(if d == Dtype::Q6_K { &HALVES } else { &BYTES });
    let sums = Lined([[[[0; LANES]; LANES]; 2]; 2]);
    over(d, std::slice::from_ref(panel), &mut Many { x, steps, out, sums, held: Vec::with_capacity(HELD) });
}
