//! Products with weights that are stored one by one: rows of them against columns, both along the inner dimension, sixteen
//! sums each. Four rows and six columns fill the registers, so that a value that was loaded is used four or six times. For many
//! columns, weights of 16 bits are brought to f32 once, beside them.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use half::bf16;

use super::Ahead;
use crate::matmul::columns::{BLOCK, LANES};
use crate::matmul::rows::{Data, Panel};

/// Rows and columns of a tile.
const ROWS: usize = 4;
const WIDE: usize = 6;

/// A type of plain weights, and the inputs it is multiplied with.
pub(super) trait Plain {
    /// Type of the inputs.
    type Input: Copy;
    /// Bytes of a weight.
    const BYTES: usize;
    /// Values of a step.
    const STEP: usize;
    /// Values after which sums are added up: six columns of them stay in the first cache.
    const BLOCK: usize = BLOCK;
    /// Whether a step of weights are f32, made of fewer bits.
    const WIDENED: bool = false;

    /// A step of weights; those outside the mask, a bit a byte, are zero and not read.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW, VL and DQ; the bytes of the mask are there.
    unsafe fn weights(at: *const u8, mask: u64) -> __m512i;

    /// Adds the products of a step to sixteen sums.
    ///
    /// # Safety
    /// As [`Plain::weights`], and what the type needs besides; a step of inputs is there.
    unsafe fn add(sums: __m512, weights: __m512i, x: *const Self::Input) -> __m512;
}

pub(super) struct F32;
impl Plain for F32 {
    type Input = f32;
    const BYTES: usize = 4;
    const STEP: usize = 16;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn weights(at: *const u8, mask: u64) -> __m512i {
        _mm512_maskz_loadu_epi8(mask, at.cast())
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn add(sums: __m512, weights: __m512i, x: *const f32) -> __m512 {
        _mm512_fmadd_ps(_mm512_castsi512_ps(weights), _mm512_loadu_ps(x), sums)
    }
}

pub(super) struct F16;
impl Plain for F16 {
    type Input = f32;
    const BYTES: usize = 2;
    const STEP: usize = 16;
    const WIDENED: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn weights(at: *const u8, mask: u64) -> __m512i {
        _mm512_castps_si512(_mm512_cvtph_ps(_mm256_maskz_loadu_epi8(mask as u32, at.cast())))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn add(sums: __m512, weights: __m512i, x: *const f32) -> __m512 {
        F32::add(sums, weights, x)
    }
}

/// bf16 against f32: its values are those of f32 with fewer digits.
pub(super) struct Wide;
impl Plain for Wide {
    type Input = f32;
    const BYTES: usize = 2;
    const STEP: usize = 16;
    const WIDENED: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn weights(at: *const u8, mask: u64) -> __m512i {
        _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi8(mask as u32, at.cast())))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn add(sums: __m512, weights: __m512i, x: *const f32) -> __m512 {
        F32::add(sums, weights, x)
    }
}

/// bf16 against inputs rounded to it. Each product of a pair is added by the processor's own rule: no denormals, and a
/// rounding after each of the two.
pub(super) struct Pairs;
impl Plain for Pairs {
    type Input = bf16;
    const BYTES: usize = 2;
    const STEP: usize = 32;
    const BLOCK: usize = 2 * BLOCK;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn weights(at: *const u8, mask: u64) -> __m512i {
        _mm512_maskz_loadu_epi8(mask, at.cast())
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    unsafe fn add(sums: __m512, weights: __m512i, x: *const bf16) -> __m512 {
        let [w, x] = [weights, _mm512_loadu_si512(x.cast())].map(|v| std::mem::transmute::<__m512i, __m512bh>(v));
        _mm512_dpbf16_ps(sums, w, x)
    }
}

/// Products of a panel with columns, `[column][stride]` each padded with zeros to whole steps, in `out`.
///
/// # Safety
/// As [`Plain::add`]; the rows of the panel are of type `P`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) unsafe fn multiply<P: Plain>(panel: &Panel, x: &[P::Input], stride: usize, out: &mut [[f32; LANES]]) {
    let Data::Rows(rows) = panel.data else { unreachable!("plain weights stay as they are stored") };
    let rows = rows.map(<[u8]>::as_ptr);
    let count = panel.columns.div_ceil(P::BLOCK) * (LANES / ROWS) * out.len().div_ceil(WIDE);
    let mut ahead = Ahead::new(panel, count);
    let mut wide = MaybeUninit::uninit();
    for from in (0..panel.columns).step_by(P::BLOCK) {
        let len = P::BLOCK.min(panel.columns - from);
        let (rows, x) = (rows.map(|row| row.add(from * P::BYTES)), x.as_ptr().add(from));
        if P::WIDENED && out.len() > WIDE {
            // To widen a weight takes as long as to multiply it: once is enough for all columns.
            let rows = widen::<P>(rows, len, &mut wide);
            tiles::<F32>(rows, x.cast(), stride, len, &mut ahead, out);
        } else {
            tiles::<P>(rows, x, stride, len, &mut ahead, out);
        }
    }
}

/// Weights of sixteen rows.
#[repr(align(64))]
struct Widened([[f32; BLOCK]; LANES]);

/// `len` weights of each row as f32: where they are then.
///
/// # Safety
/// As [`multiply`]; a step of `P` is of f32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn widen<P: Plain>(rows: [*const u8; LANES], len: usize, wide: &mut MaybeUninit<Widened>) -> [*const u8; LANES] {
    let wide = (&raw mut (*wide.as_mut_ptr()).0).cast::<f32>();
    let mut places = [wide.cast_const().cast(); LANES];
    for (index, row) in rows.into_iter().enumerate() {
        let out = wide.add(index * BLOCK);
        for k in (0..len).step_by(P::STEP) {
            let mask = u64::MAX >> (64 - (P::STEP.min(len - k) * P::BYTES));
            _mm512_storeu_si512(out.add(k).cast(), P::weights(row.add(k * P::BYTES), mask));
        }
        places[index] = out.cast_const().cast();
    }
    places
}

/// Adds the products of `len` weights of sixteen rows with all columns.
///
/// # Safety
/// As [`multiply`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn tiles<P: Plain>(
    rows: [*const u8; LANES],
    x: *const P::Input,
    stride: usize,
    len: usize,
    ahead: &mut Ahead,
    out: &mut [[f32; LANES]],
) {
    let mut column = 0;
    while column < out.len() {
        let count = match out.len() - column {
            WIDE.. => WIDE,
            2.. => 2,
            _ => 1,
        };
        for row in (0..LANES).step_by(ROWS) {
            if out.len() > 1 {
                ahead.step(); // a single column is one stream a row, which the processor foresees
            }
            let Some(&at) = rows[row..].first_chunk() else { continue };
            let (x, out) = (x.add(column * stride), &mut out[column..]);
            match count {
                WIDE => tile::<P, WIDE>(at, x, stride, len, row, out),
                2 => tile::<P, 2>(at, x, stride, len, row, out),
                _ => tile::<P, 1>(at, x, stride, len, row, out),
            }
        }
        column += count;
    }
}

/// Adds the products of four rows with `C` columns, `len` values of each, to `out`, at `row` of its lanes.
///
/// # Safety
/// As [`multiply`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn tile<P: Plain, const C: usize>(
    rows: [*const u8; ROWS],
    x: *const P::Input,
    stride: usize,
    len: usize,
    row: usize,
    out: &mut [[f32; LANES]],
) {
    let mut sums = [[_mm512_setzero_ps(); ROWS]; C];
    let ahead = (rows[1] as usize).wrapping_sub(rows[0] as usize).wrapping_mul(ROWS);
    let whole = len / P::STEP * P::STEP;
    for k in (0..whole).step_by(P::STEP) {
        step::<P, C>(rows, x, stride, k, u64::MAX, ahead, &mut sums);
    }
    if whole < len {
        step::<P, C>(rows, x, stride, whole, !(u64::MAX << ((len - whole) * P::BYTES)), ahead, &mut sums);
    }
    for c in 0..C {
        let place = out[c].as_mut_ptr().add(row);
        _mm_storeu_ps(place, _mm_add_ps(_mm_loadu_ps(place), totals(sums[c])));
    }
}

/// One step of a [`tile`].
///
/// # Safety
/// As [`multiply`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn step<P: Plain, const C: usize>(
    rows: [*const u8; ROWS],
    x: *const P::Input,
    stride: usize,
    k: usize,
    mask: u64,
    ahead: usize,
    sums: &mut [[__m512; ROWS]; C],
) {
    let mut w = [_mm512_setzero_si512(); ROWS];
    for r in 0..ROWS {
        let at = rows[r].wrapping_add(k * P::BYTES);
        if C == 1 {
            // The rows after these; a prefetch reads nothing that the program sees, whatever the address.
            _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(ahead).cast());
        }
        w[r] = P::weights(at, mask);
    }
    for c in 0..C {
        for r in 0..ROWS {
            sums[c][r] = P::add(sums[c][r], w[r], x.add(c * stride + k));
        }
    }
}

/// The totals of four times sixteen sums: halves are added until one is left.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) fn totals(sums: [__m512; ROWS]) -> __m128 {
    let halves = |a, b| _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
    let (ab, cd) = (halves(sums[0], sums[1]), halves(sums[2], sums[3])); // eight of a, eight of b
    let all = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd)); // four of each
    let all = _mm512_add_ps(all, _mm512_permute_ps::<0b01_00_11_10>(all));
    let all = _mm512_add_ps(all, _mm512_permute_ps::<0b10_11_00_01>(all));
    let first = _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), all);
    _mm512_castps512_ps128(first)
}
