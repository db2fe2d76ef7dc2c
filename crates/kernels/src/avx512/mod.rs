//! The kernels with AVX-512: [`portable`](crate::matmul::portable) bit for bit, many times as fast.
//!
//! Integers: a panel's sixteen rows lie in the sixteen lanes of a register and are multiplied four at a time by `vpdpbusd`
//! (VNNI), once with the high and once with the low bytes of the inputs. Plain weights: see [`plain`]; pairs of bf16 are
//! multiplied by `vdpbf16ps`.

// Every function here needs the instructions it is compiled for, and reads weights through the pointers of a panel.
#![allow(unsafe_code, unsafe_op_in_unsafe_fn)]

pub(crate) mod blocks;
pub(crate) mod conv;
pub(crate) mod inputs;
mod plain;
pub(crate) mod turn;

use std::arch::x86_64::*;

use half::bf16 as Bf16;

use self::blocks::{Blocks, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Weights};
use self::plain::{F16, F32, Pairs, Wide, multiply};
use self::turn::{Pointers, Source, Turned};
use crate::dtype::Dtype;
use crate::matmul::columns::{LANES, LINE, STEP, Step, TOGETHER};
use crate::matmul::rows::{Data, Panel};

/// Columns that are computed side by side, with two registers for each sum.
const PAIRS: usize = 4;
/// Bytes of a row that are fetched ahead of a step that takes little time.
const AHEAD: usize = 64;

/// What is done with the weights of a panel, step by step of the inner dimension.
pub(crate) trait Runs {
    /// A step takes so long that the weights of the next one are fetched meanwhile.
    const LONG: bool;
    /// Panels that are taken together: one, or [`TOGETHER`], which are turned.
    const PANELS: usize = 1;

    /// Takes the 32 weights a row of step `step` of a panel.
    ///
    /// # Safety
    /// As [`over`], and what the type needs besides.
    unsafe fn run<B: Blocks>(&mut self, panel: usize, step: usize, weights: &Weights);

    /// All `steps` were taken.
    ///
    /// # Safety
    /// As [`Runs::run`].
    unsafe fn end<B: Blocks>(&mut self, _steps: usize) {}
}

/// As [`portable::shorts`](crate::matmul::portable::shorts), with the columns in bytes; of several panels one column.
///
/// # Safety
/// The processor has AVX-512 F, BW, VL, DQ and VNNI. `x` has `stride` columns a step, `first` and those of `out` at least.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(crate) unsafe fn steps(
    d: Dtype,
    panels: &[Panel],
    x: &[Step],
    stride: usize,
    first: usize,
    out: &mut [[f32; LANES]],
) {
    let x = &x[first..];
    if out.len() == panels.len() {
        if let Some(out) = out.as_mut_array::<TOGETHER>() {
            one(d, panels, x, stride, out);
        } else if let [out] = out {
            one(d, panels, x, stride, std::array::from_mut(out));
        } else {
            unreachable!("one panel, or as many as go together");
        }
    } else {
        over(d, panels, &mut Many { x, stride, out });
    }
}

/// The first column, and a panel for each of `out`.
///
/// # Safety
/// As [`steps`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn one<const P: usize>(d: Dtype, panels: &[Panel], x: &[Step], stride: usize, out: &mut [[f32; LANES]; P]) {
    let mut one = One { x, stride, y: [_mm512_setzero_ps(); P] };
    for (y, out) in one.y.iter_mut().zip(&*out) {
        *y = _mm512_loadu_ps(out.as_ptr());
    }
    over(d, panels, &mut one);
    for (y, out) in one.y.iter().zip(out) {
        _mm512_storeu_ps(out.as_mut_ptr(), *y);
    }
}

/// One column: a sum of each panel.
struct One<'a, const P: usize> {
    x: &'a [Step],
    stride: usize,
    y: [__m512; P],
}

impl<const P: usize> Runs for One<'_, P> {
    const LONG: bool = false;
    const PANELS: usize = P;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn run<B: Blocks>(&mut self, panel: usize, step: usize, weights: &Weights) {
        let x = std::array::from_ref(&self.x[step * self.stride]);
        [self.y[panel]] = add::<B, 1>(weights, x, [self.y[panel]]);
    }
}

/// Several columns.
struct Many<'a> {
    x: &'a [Step],
    stride: usize,
    out: &'a mut [[f32; LANES]],
}

impl Runs for Many<'_> {
    const LONG: bool = false;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn run<B: Blocks>(&mut self, _panel: usize, step: usize, weights: &Weights) {
        columns::<B>(weights, &self.x[step * self.stride..][..self.out.len()], self.out);
    }
}

/// All weights of a panel, or of several that are turned, [`TOGETHER`] at most, block by block in turn.
///
/// # Safety
/// The processor has AVX-512 F, BW, VL, DQ and VNNI.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(crate) unsafe fn over(d: Dtype, panels: &[Panel], runs: &mut impl Runs) {
    match d {
        Dtype::Q8_0 => either::<Q8_0, _>(panels, runs),
        Dtype::Q4_0 => either::<Q4_0, _>(panels, runs),
        Dtype::Q4_1 => either::<Q4_1, _>(panels, runs),
        Dtype::Q5_0 => either::<Q5_0, _>(panels, runs),
        Dtype::Q5_1 => either::<Q5_1, _>(panels, runs),
        Dtype::Q4_K => either::<Q4K, _>(panels, runs),
        Dtype::Q5_K => either::<Q5K, _>(panels, runs),
        _ => either::<Q6K, _>(panels, runs),
    }
}

/// Panels in either form.
///
/// # Safety
/// As [`over`]; the rows of the panels are of type `B`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn either<B: Blocks, R: Runs>(panels: &[Panel], runs: &mut R) {
    assert!(panels.len() == R::PANELS, "{} panels", panels.len());
    let mut turned = [Turned(std::ptr::null()); TOGETHER];
    for (turned, panel) in turned.iter_mut().zip(panels) {
        match panel.data {
            Data::Turned(bytes) => *turned = Turned(bytes.as_ptr()),
            Data::Rows(rows) => {
                assert!(R::PANELS == 1, "panels that are not turned");
                return all::<B, R, 1>(&[Pointers(rows.map(<[u8]>::as_ptr))], panel, runs);
            }
        }
    }
    if R::PANELS == 1 {
        all::<B, R, 1>(&[turned[0]], &panels[0], runs);
    } else {
        all::<B, R, TOGETHER>(&turned, &panels[0], runs);
    }
}

/// All blocks of panels.
///
/// # Safety
/// As [`either`]; `rows` are those of the panels, of which `panel` is the first.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn all<B: Blocks, R: Runs, const P: usize>(rows: &[impl Source; P], panel: &Panel, runs: &mut R) {
    let part = B::BYTES * STEP / B::LEN;
    let mut ahead = Ahead::new(panel, panel.columns / STEP);
    for block in 0..panel.columns / B::LEN {
        for index in 0..P {
            B::unpack(&rows[index], block * B::BYTES, |run, weights| {
                if R::LONG || P > 1 {
                    rows[index].fetch(block * B::BYTES + run * part + if R::LONG { B::BYTES } else { AHEAD }, part);
                }
                ahead.step();
                runs.run::<B>(index, block * (B::LEN / STEP) + run, weights);
            });
        }
    }
    runs.end::<B>(panel.columns / STEP);
}

/// One run of 32 weights a row, over several columns.
///
/// # Safety
/// As [`steps`].
#[inline(never)] // so that the case of one column is
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn columns<B: Blocks>(weights: &Weights, x: &[Step], out: &mut [[f32; LANES]]) {
    let (xs, x) = x.as_chunks::<PAIRS>();
    let (outs, out) = out.as_chunks_mut::<PAIRS>();
    for (x, out) in xs.iter().zip(outs) {
        let mut y = [_mm512_setzero_ps(); PAIRS];
        for c in 0..PAIRS {
            y[c] = _mm512_loadu_ps(out[c].as_ptr());
        }
        y = add::<B, PAIRS>(weights, x, y);
        for c in 0..PAIRS {
            _mm512_storeu_ps(out[c].as_mut_ptr(), y[c]);
        }
    }
    for (x, out) in x.iter().zip(out) {
        let y = add::<B, 1>(weights, std::array::from_ref(x), [_mm512_loadu_ps(out.as_ptr())]);
        _mm512_storeu_ps(out.as_mut_ptr(), y[0]);
    }
}

/// Adds a run's products with `N` columns side by side, enough independent sums to hide the latency of an addition.
///
/// # Safety
/// As [`steps`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn add<B: Blocks, const N: usize>(weights: &Weights, x: &[Step; N], mut y: [__m512; N]) -> [__m512; N] {
    if B::HALVES {
        y = scaled::<B, N>(weights, 0, x, y);
        y = scaled::<B, N>(weights, 1, x, y);
    } else {
        y = scaled::<B, N>(weights, 0, x, y);
    }
    if B::MIN {
        for c in 0..N {
            y[c] = _mm512_fmadd_ps(weights.min, _mm512_set1_ps(x[c].sum), y[c]);
        }
    }
    y
}

/// Adds the values of a run that share a scale: all of them, or one half.
///
/// # Safety
/// As [`steps`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn scaled<B: Blocks, const N: usize>(
    weights: &Weights,
    half: usize,
    x: &[Step; N],
    mut y: [__m512; N],
) -> [__m512; N] {
    let dword = |bytes: &[i8; STEP], k: usize| _mm512_set1_epi32(bytes.as_ptr().cast::<i32>().add(k).read_unaligned());
    let (from, to) = if B::HALVES { (4 * half, 4 * half + 4) } else { (0, 8) };
    // Two sums each, so that a single column does not wait for its own additions.
    let mut high = [[_mm512_setzero_si512(); 2]; N];
    let mut low = high;
    if B::CENTRE != 0 {
        for c in 0..N {
            let sum = if B::HALVES { x[c].sums[half] } else { x[c].sums[0] + x[c].sums[1] };
            low[c][0] = _mm512_set1_epi32(sum.wrapping_neg() << B::CENTRE);
        }
    }
    for k in from..to {
        let chain = if N == 1 { k % 2 } else { 0 };
        for c in 0..N {
            high[c][chain] = _mm512_dpbusd_epi32(high[c][chain], weights.u[k], dword(&x[c].hi, k));
            low[c][chain] = _mm512_dpbusd_epi32(low[c][chain], weights.u[k], dword(&x[c].lo, k));
        }
    }
    let high = high.map(|[a, b]| if N == 1 { _mm512_add_epi32(a, b) } else { a });
    let low = low.map(|[a, b]| if N == 1 { _mm512_add_epi32(a, b) } else { a });
    for c in 0..N {
        let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32::<8>(high[c]), low[c]));
        y[c] = _mm512_fmadd_ps(sum, _mm512_mul_ps(weights.scale[half], _mm512_set1_ps(x[c].scale)), y[c]);
    }
    y
}

/// As [`portable::floats`](crate::matmul::portable::floats).
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and DQ. The columns are `[column][stride]`, padded with zeros to whole steps.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) unsafe fn floats(d: Dtype, panel: &Panel, x: &[f32], stride: usize, out: &mut [[f32; LANES]]) {
    match d {
        Dtype::F32 => multiply::<F32>(panel, x, stride, out),
        Dtype::F16 => multiply::<F16>(panel, x, stride, out),
        _ => multiply::<Wide>(panel, x, stride, out),
    }
}

/// Products of bf16 with columns of bf16.
///
/// # Safety
/// As [`floats`], with BF16; the rows are of bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(crate) unsafe fn bf16(panel: &Panel, x: &[Bf16], stride: usize, out: &mut [[f32; LANES]]) {
    multiply::<Pairs>(panel, x, stride, out);
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
    fn new(panel: &Panel, steps: usize) -> Self {
        let left = panel.next.len().div_ceil(LINE);
        Self { at: panel.next.as_ptr().cast(), left, lines: left.div_ceil(steps.max(1)) }
    }

    #[inline(always)]
    fn step(&mut self) {
        let lines = self.lines.min(self.left);
        for _ in 0..lines {
            // SAFETY: a prefetch reads nothing that the program sees and cannot fail, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(self.at) };
            self.at = self.at.wrapping_add(LINE);
        }
        self.left -= lines;
    }
}
