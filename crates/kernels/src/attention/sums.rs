//! The sums of attention, sixteen floats at a time: scores of queries with keys, their exponentials, values weighted by them.
//!
//! Keys and values are read once, one after another, so both are fetched ahead.

use crate::lanes::{Cell, Lanes};
use crate::math::exp;
use crate::matmul::columns::{LANES, LINE};

/// Positions whose values are fetched ahead.
const AHEAD: usize = 64;

/// Sixteens of cells in a line of the processor's cache.
const fn per_line<C>() -> usize {
    LINE / (LANES * size_of::<C>())
}

/// Scores of all queries with `P` panels of keys; `P`.
#[inline(always)]
pub(super) fn score_rows<const P: usize, L: Lanes, C: Cell>(
    q: &[f32],
    keys: &[C],
    dim: usize,
    out: &mut [f32],
    width: usize,
) -> usize {
    let (rows, mut row) = (q.len() / dim, 0);
    while row < rows {
        let (q, out) = (&q[row * dim..], &mut out[row * width..]);
        row += match rows - row {
            8.. => score::<8, P, L, C>(q, keys, dim, out, width),
            4.. => score::<4, P, L, C>(q, keys, dim, out, width),
            2.. => score::<2, P, L, C>(q, keys, dim, out, width),
            _ => score::<1, P, L, C>(q, keys, dim, out, width),
        };
    }
    P
}

/// Scores of `R` queries with `P` panels of keys, `[dim][16]` each; `R`. Several panels are so many sums more that do not wait
/// for each other.
#[inline(always)]
fn score<const R: usize, const P: usize, L: Lanes, C: Cell>(
    q: &[f32],
    keys: &[C],
    dim: usize,
    out: &mut [f32],
    width: usize,
) -> usize {
    let mut sums = [[L::zero(); P]; R];
    let rows: [&[f32]; R] = std::array::from_fn(|row| &q[row * dim..][..dim]);
    let panels: [&[[C; LANES]]; P] =
        std::array::from_fn(|panel| &keys[panel * LANES * dim..].as_chunks::<LANES>().0[..dim]);
    for k in 0..dim {
        for panel in 0..P {
            if k.is_multiple_of(per_line::<C>()) {
                L::fetch(&panels[panel][k], 2 * P * dim * LANES);
            }
            let keys = L::load(&panels[panel][k]);
            for row in 0..R {
                sums[row][panel] = keys.fused(rows[row][k], sums[row][panel]);
            }
        }
    }
    for row in 0..R {
        for panel in 0..P {
            sums[row][panel].store(&mut out[row * width + panel * LANES..][..LANES]);
        }
    }
    R
}

/// Scores → exponentials against their maximum, 0 outside `sees`; the maximum and the sum. The sum is taken in sixteen
/// lanes that count from the first position of the chunk.
#[inline(always)]
pub(super) fn softmax(scores: &mut [f32], sees: std::ops::Range<usize>) -> (f32, f32) {
    let end = scores.len();
    scores[..sees.start].fill(f32::NEG_INFINITY);
    scores[sees.end.max(sees.start)..end].fill(f32::NEG_INFINITY);
    let mut most = [f32::NEG_INFINITY; LANES];
    for scores in scores.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            most[lane] = if scores[lane] > most[lane] { scores[lane] } else { most[lane] };
        }
    }
    let max = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
    if sees.is_empty() {
        scores.fill(0.0);
        return (max, 0.0);
    }
    let mut sums = [0.0; LANES];
    for scores in scores.as_chunks_mut::<LANES>().0 {
        for lane in 0..LANES {
            scores[lane] = exp(scores[lane] - max);
            sums[lane] += scores[lane];
        }
    }
    (max, sums.into_iter().sum())
}

/// Sums of values, `[position][padded]`, for `R` rows of weights; `R`.
#[inline(always)]
pub(super) fn weigh<const R: usize, L: Lanes, C: Cell>(
    weights: &[f32],
    width: usize,
    values: &[C],
    padded: usize,
    out: &mut [f32],
) -> usize {
    let rows: [&[f32]; R] = std::array::from_fn(|row| &weights[row * width..][..width]);
    let mut at = 0;
    while at < padded {
        if padded - at >= 4 * LANES {
            weigh_lanes::<R, 4, L, C>(&rows, values, padded, at, out);
            at += 4 * LANES;
        } else {
            weigh_lanes::<R, 1, L, C>(&rows, values, padded, at, out);
            at += LANES;
        }
    }
    R
}

#[inline(always)]
fn weigh_lanes<const R: usize, const N: usize, L: Lanes, C: Cell>(
    weights: &[&[f32]; R],
    values: &[C],
    padded: usize,
    at: usize,
    out: &mut [f32],
) {
    let mut sums = [[L::zero(); N]; R];
    for (s, values) in values.chunks_exact(padded).enumerate() {
        let values = values[at..at + N * LANES].as_chunks::<LANES>().0;
        for n in 0..N {
            if n.is_multiple_of(per_line::<C>()) {
                L::fetch(&values[n], AHEAD * padded);
            }
            let value = L::load(&values[n]);
            for row in 0..R {
                sums[row][n] = value.fused(weights[row][s], sums[row][n]);
            }
        }
    }
    for row in 0..R {
        for n in 0..N {
            sums[row][n].store(&mut out[row * padded + at + n * LANES..][..LANES]);
        }
    }
}
