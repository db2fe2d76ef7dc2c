//! Q6_K: runs of 16 with a scale each, found by search.
//!
//! A run is `scale·code`, codes from −32 to 31. As in Q4_K the codes follow from a guess, here of the greatest value's code;
//! the best scale for given codes is a quotient of sums, and the guess that explains most of the weighted squares is taken.
//! A value weighs its square. The scales are then rounded to 8 bits, the greatest to −128, and the codes made anew. The
//! guesses are GGML's (`make_qx_quants`).

use half::f16;

use super::k::{LANES, Lanes, side_by_side};
use super::{HALF_MAX, byte, nearest, put_half, within};

/// Beyond this no value can be stored.
const GREATEST: f32 = HALF_MAX * 128.0 * 32.0;

/// Runs and scales below this are zero.
const LEAST: f32 = 1e-15;

/// What was found for eight runs.
struct Fit {
    /// 0 for a run of zeros.
    scale: Lanes,
    /// The codes came from `value·inverse`; 0 for a run of zeros.
    inverse: Lanes,
}

pub(super) fn q6_k(values: &[f32; 256], block: &mut [u8; 210]) {
    let (first, second) = values.split_at(128);
    let rows: [[Lanes; 16]; 2] = [side_by_side(first, GREATEST), side_by_side(second, GREATEST)];
    let fits = rows.each_ref().map(search);
    let found = fits.iter().flat_map(|fit| fit.scale);
    let greatest = found.fold(0.0, |greatest: f32, s| if s.abs() > greatest.abs() { s } else { greatest });
    if greatest.abs() < LEAST {
        block.fill(0);
        return;
    }
    let inverse = -128.0 / within(greatest, -128.0 * HALF_MAX, 128.0 * HALF_MAX);
    let d = f16::from_f32(1.0 / inverse);
    put_half(block, 208, d.to_f32());
    let mut codes = [[0; 16]; 16];
    for (run, codes) in codes.iter_mut().enumerate() {
        let (rows, fit, j) = (&rows[run / LANES], &fits[run / LANES], run % LANES);
        let scale = within(nearest(inverse * fit.scale[j]), -128.0, 127.0);
        block[192 + run] = byte(scale);
        let scale = d.to_f32() * scale;
        for (code, row) in codes.iter_mut().zip(rows) {
            // Without a scale any code means zero; GGML leaves those of the search, or 0.
            *code = match (scale == 0.0, fit.inverse[j] == 0.0) {
                (false, _) => byte(within(nearest(row[j] / scale), -32.0, 31.0) + 32.0),
                (true, false) => byte(within(nearest(row[j] * fit.inverse[j]), -32.0, 31.0) + 32.0),
                (true, true) => 0,
            };
        }
    }
    pack(codes.as_flattened(), &mut block[..192]);
}

/// 128 bytes of low halves, 64 bytes of upper pairs of bits.
fn pack(codes: &[u8], block: &mut [u8]) {
    let (low, high) = block.split_at_mut(128);
    for ((codes, low), high) in
        codes.as_chunks::<128>().0.iter().zip(low.as_chunks_mut::<64>().0).zip(high.as_chunks_mut::<32>().0)
    {
        for (i, low) in low.iter_mut().enumerate() {
            *low = codes[i] & 15 | codes[i + 64] << 4;
        }
        for (i, high) in high.iter_mut().enumerate() {
            *high = codes[i] >> 4 | codes[i + 32] >> 4 << 2 | codes[i + 64] >> 4 << 4 | codes[i + 96] >> 4 << 6;
        }
    }
}

/// The scales of eight runs.
fn search(rows: &[Lanes; 16]) -> Fit {
    let (mut peak, mut magnitude) = ([0.0; LANES], [0.0; LANES]);
    for x in rows {
        for j in 0..LANES {
            let greater = x[j].abs() > magnitude[j];
            peak[j] = if greater { x[j] } else { peak[j] };
            magnitude[j] = if greater { x[j].abs() } else { magnitude[j] };
        }
    }
    let mut fit = Fit { scale: [0.0; LANES], inverse: [0.0; LANES] };
    // What a guess has to beat; the first has nothing to beat.
    let mut best = [f32::NEG_INFINITY; LANES];
    for step in std::iter::once(0i8).chain((-9..=9).filter(|step| *step != 0)) {
        let guess = -(32.0 + 0.1 * f32::from(step));
        let inverse = peak.map(|peak| guess / peak);
        let (lx, ll) = sums(rows, &inverse);
        for j in 0..LANES {
            let scale = lx[j] / ll[j];
            let better = lx[j] * lx[j] > best[j] * ll[j];
            best[j] = if better { scale * lx[j] } else { best[j] };
            fit.scale[j] = if better { scale } else { fit.scale[j] };
            fit.inverse[j] = if better { inverse[j] } else { fit.inverse[j] };
        }
    }
    for (j, magnitude) in magnitude.into_iter().enumerate() {
        if magnitude < LEAST {
            (fit.scale[j], fit.inverse[j]) = (0.0, 0.0);
        }
    }
    fit
}

/// The codes of a guess times the values, and their squares, weighted. Alone the loop is sure to become vector code.
#[inline(never)]
fn sums(rows: &[Lanes; 16], inverse: &Lanes) -> (Lanes, Lanes) {
    let (mut lx, mut ll) = ([0.0; LANES], [0.0; LANES]);
    for x in rows {
        for j in 0..LANES {
            let code = within(nearest(inverse[j] * x[j]), -32.0, 31.0);
            let weight = x[j] * x[j];
            lx[j] += weight * x[j] * code;
            ll[j] += weight * code * code;
        }
    }
    (lx, ll)
}
