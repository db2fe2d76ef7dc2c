//! Q4_K and Q5_K: runs of 32 with a scale and a minimum each, found by search.
//!
//! A run is `scale·code + minimum`. The codes follow from a guess of the scale, and for given codes the best scale and
//! minimum are a weighted linear regression; so guesses around `range / codes` are tried, each from the best minimum so
//! far, and the one with the least error is taken. A value weighs its magnitude and the run's root mean square, for great
//! weights matter more. The scales and minima are then rounded to 6 bits, and the codes made anew for what is left of them.
//! The guesses are GGML's (`make_qkx2_quants`).
//!
//! The eight runs of a block are searched side by side, one a lane: a vector register then holds the same step of several
//! runs, and every sum is made in the order of GGML, from which its rounding follows.

use half::f16;

use super::{HALF_MAX, byte, nearest, within};

/// Runs side by side.
pub(super) const LANES: usize = 8;

/// A number of each run.
pub(super) type Lanes = [f32; LANES];

/// What is tried.
struct Search {
    /// The last code.
    last: f32,
    /// The first guess has the range of a run at code `last + offset`; the following at 0.1 more each.
    offset: f32,
    /// Guesses after the first.
    steps: u8,
}

/// What was found for eight runs.
struct Fit {
    scale: Lanes,
    /// The value of code 0; not above zero.
    minimum: Lanes,
    /// The codes came from `(value − low)·inverse`.
    inverse: Lanes,
    low: Lanes,
}

/// A block before it is packed.
struct Block {
    d: f16,
    m: f16,
    scales: [u8; 12],
    codes: [[u8; 32]; LANES],
}

pub(super) fn q4_k(values: &[f32; 256], block: &mut [u8; 144]) {
    let Block { d, m, scales, codes } = quantize(values, Search { last: 15.0, offset: -1.0, steps: 20 });
    block[..2].copy_from_slice(&d.to_le_bytes());
    block[2..4].copy_from_slice(&m.to_le_bytes());
    block[4..16].copy_from_slice(&scales);
    nibbles(&codes, &mut block[16..]);
}

pub(super) fn q5_k(values: &[f32; 256], block: &mut [u8; 176]) {
    let Block { d, m, scales, codes } = quantize(values, Search { last: 31.0, offset: -0.5, steps: 15 });
    block[..2].copy_from_slice(&d.to_le_bytes());
    block[2..4].copy_from_slice(&m.to_le_bytes());
    block[4..16].copy_from_slice(&scales);
    let (fifths, low) = block[16..].split_at_mut(32);
    for (i, bits) in fifths.iter_mut().enumerate() {
        *bits = codes.iter().enumerate().fold(0, |bits, (run, codes)| bits | (codes[i] >> 4) << run);
    }
    nibbles(&codes, low);
}

/// The lower four bits: two runs in 32 bytes.
fn nibbles(codes: &[[u8; 32]; LANES], bytes: &mut [u8]) {
    for (pair, bytes) in codes.as_chunks::<2>().0.iter().zip(bytes.as_chunks_mut::<32>().0) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = pair[0][i] & 15 | pair[1][i] << 4;
        }
    }
}

/// Value `i` of run `j`, for all `j` in a row: `[n, runs]`.
pub(super) fn side_by_side<const N: usize>(values: &[f32], greatest: f32) -> [Lanes; N] {
    let mut rows = [[0.0; LANES]; N];
    for (j, run) in values.as_chunks::<N>().0.iter().take(LANES).enumerate() {
        for (row, value) in rows.iter_mut().zip(run) {
            row[j] = within(*value, -greatest, greatest);
        }
    }
    rows
}

/// Eight scales or minima in 6 bits: their unit, and how many each is.
fn six_bits(numbers: &Lanes) -> (f16, [u8; LANES]) {
    let greatest = within(numbers.iter().copied().fold(0.0, f32::max), 0.0, 63.0 * HALF_MAX);
    let inverse = if greatest > 0.0 { 63.0 / greatest } else { 0.0 };
    (f16::from_f32(greatest / 63.0), numbers.map(|number| byte(within(nearest(inverse * number), 0.0, 63.0))))
}

fn quantize(values: &[f32; 256], search: Search) -> Block {
    // Beyond this no value can be stored; below it the sums of the search are finite.
    let rows = side_by_side(values, HALF_MAX * 63.0 * search.last);
    let fit = search.run(&rows);
    let (d, scales) = six_bits(&fit.scale);
    let (m, minima) = six_bits(&fit.minimum.map(|v| -v));
    let mut codes = [[0; 32]; LANES];
    for (j, codes) in codes.iter_mut().enumerate() {
        let scale = d.to_f32() * f32::from(scales[j]);
        let minimum = m.to_f32() * f32::from(minima[j]);
        for (code, row) in codes.iter_mut().zip(&rows) {
            // Without a scale any code means the minimum; GGML leaves those of the search.
            let exact = if scale == 0.0 { fit.inverse[j] * (row[j] - fit.low[j]) } else { (row[j] + minimum) / scale };
            *code = byte(within(nearest(exact), 0.0, search.last));
        }
    }
    let mut packed = [0; 12];
    for j in 0..4 {
        packed[j] = scales[j] | (scales[j + 4] >> 4) << 6;
        packed[j + 4] = minima[j] | (minima[j + 4] >> 4) << 6;
        packed[j + 8] = scales[j + 4] & 15 | minima[j + 4] << 4;
    }
    Block { d, m, scales: packed, codes }
}

impl Search {
    /// Scales and minima of eight runs. For a run of one value the guesses are infinite, no comparison holds, and the first
    /// `Fit` stays: no scale, only the minimum.
    fn run(&self, rows: &[Lanes; 32]) -> Fit {
        let last = self.last;
        let weights = weights(rows);
        let (mut low, mut high) = (rows[0], rows[0]);
        let (mut sum_w, mut sum_x) = ([0.0; LANES], [0.0; LANES]);
        for (x, w) in rows.iter().zip(&weights) {
            for j in 0..LANES {
                low[j] = if x[j] < low[j] { x[j] } else { low[j] };
                high[j] = if x[j] > high[j] { x[j] } else { high[j] };
                sum_w[j] += w[j];
                sum_x[j] += w[j] * x[j];
            }
        }
        let low = low.map(|v| if v > 0.0 { 0.0 } else { v });
        let inverse = std::array::from_fn(|j| last / (high[j] - low[j]));
        let mut fit = Fit { scale: inverse.map(|inverse| 1.0 / inverse), minimum: low, inverse, low };
        let mut codes = [[0.0; LANES]; 32];
        guess_codes(rows, &weights, &low, &inverse, last, &mut codes);
        let mut least = error(rows, &weights, &codes, &fit.scale, &low);

        for step in 0..=self.steps {
            let guess = self.offset + 0.1 * f32::from(step) + last;
            let low = fit.minimum;
            let inverse = std::array::from_fn(|j| guess / (high[j] - low[j]));
            let sums = guess_codes(rows, &weights, &low, &inverse, last, &mut codes);
            let (mut scale, mut minimum) = ([0.0; LANES], [0.0; LANES]);
            for j in 0..LANES {
                let (l, ll, lx) = (sums.l[j], sums.ll[j], sums.lx[j]);
                let determinant = sum_w[j] * ll - l * l;
                let at = (ll * sum_x[j] - l * lx) / determinant;
                let slope = (sum_w[j] * lx - sum_x[j] * l) / determinant;
                // A value above zero cannot be the least: then the line goes through zero.
                let (at, slope) = if at > 0.0 { (0.0, lx / ll) } else { (at, slope) };
                minimum[j] = at;
                scale[j] = if determinant > 0.0 { slope } else { f32::NAN };
            }
            let error = error(rows, &weights, &codes, &scale, &minimum);
            for j in 0..LANES {
                let better = error[j] < least[j];
                least[j] = if better { error[j] } else { least[j] };
                fit.scale[j] = if better { scale[j] } else { fit.scale[j] };
                fit.minimum[j] = if better { minimum[j] } else { fit.minimum[j] };
                fit.inverse[j] = if better { inverse[j] } else { fit.inverse[j] };
                fit.low[j] = if better { low[j] } else { fit.low[j] };
            }
        }
        fit
    }
}

/// Weighted sums of codes, their squares, and their products with the values.
struct Sums {
    l: Lanes,
    ll: Lanes,
    lx: Lanes,
}

/// Magnitude and root mean square of the run.
fn weights(rows: &[Lanes; 32]) -> [Lanes; 32] {
    let mut squares = [0.0; LANES];
    for x in rows {
        for j in 0..LANES {
            squares[j] += x[j] * x[j];
        }
    }
    let mean = squares.map(|sum| (sum / 32.0).sqrt());
    rows.map(|x| std::array::from_fn(|j| mean[j] + x[j].abs()))
}

// Alone, these two loops become vector code whatever surrounds them; inlined they sometimes do not.

/// The codes of a guess, and their sums.
#[inline(never)]
fn guess_codes(
    rows: &[Lanes; 32],
    weights: &[Lanes; 32],
    low: &Lanes,
    inverse: &Lanes,
    last: f32,
    codes: &mut [Lanes; 32],
) -> Sums {
    let mut sums = Sums { l: [0.0; LANES], ll: [0.0; LANES], lx: [0.0; LANES] };
    for ((x, w), codes) in rows.iter().zip(weights).zip(codes) {
        for j in 0..LANES {
            let code = within(nearest(inverse[j] * (x[j] - low[j])), 0.0, last);
            let weighted = w[j] * code;
            codes[j] = code;
            sums.l[j] += weighted;
            sums.ll[j] += weighted * code;
            sums.lx[j] += weighted * x[j];
        }
    }
    sums
}

/// The weighted square error of `scale·code + minimum`.
#[inline(never)]
fn error(rows: &[Lanes; 32], weights: &[Lanes; 32], codes: &[Lanes; 32], scale: &Lanes, minimum: &Lanes) -> Lanes {
    let mut error = [0.0; LANES];
    for ((x, w), code) in rows.iter().zip(weights).zip(codes) {
        for j in 0..LANES {
            let off = scale[j] * code[j] + minimum[j] - x[j];
            error[j] += w[j] * (off * off);
        }
    }
    error
}
