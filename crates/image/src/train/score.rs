//! How good a codec is: on held-out pictures, in numbers and to look at.

use jielong_core::{Codec, CodecError};
use rayon::prelude::*;

use crate::metrics::{Channels, MetricError, Window, psnr, ssim};
use crate::picture::Picture;

/// Scores of a codec on some pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Pictures scored.
    pub pictures: usize,
    /// Mean of the pictures' PSNR, in dB; that of equal pictures counts as 100.
    pub psnr: f64,
    /// Mean of the pictures' SSIM, with the window of the paper.
    pub ssim: f64,
    /// How often each code was used.
    pub counts: Vec<u64>,
}

/// Why pictures cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// A picture cannot be coded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A picture cannot be compared.
    #[error(transparent)]
    Metric(#[from] MetricError),
}

impl Score {
    /// Share of the codes that were used at all.
    #[must_use]
    pub fn usage(&self) -> f64 {
        self.counts.iter().filter(|count| **count > 0).count() as f64 / self.counts.len() as f64
    }

    /// 2 to the entropy of the codes in bits: as many codes, used alike, would say as much.
    #[must_use]
    pub fn perplexity(&self) -> f64 {
        let all = self.counts.iter().sum::<u64>() as f64;
        let shares = self.counts.iter().filter(|count| **count > 0).map(|&count| count as f64 / all);
        (-shares.map(|share| share * share.ln()).sum::<f64>()).exp()
    }
}

/// PSNR, at most 100, and SSIM of a reconstruction.
///
/// # Errors
/// [`MetricError`].
pub fn compare(picture: &Picture, reconstruction: &Picture) -> Result<[f64; 2], MetricError> {
    let psnr = psnr(picture, reconstruction, Channels::Rgb)?.min(100.0);
    Ok([psnr, ssim(picture, reconstruction, Channels::Rgb, Window::Gaussian)?])
}

/// Scores a codec; `seen` gets each picture with its reconstruction, in order.
///
/// # Errors
/// [`ScoreError`], or what the pictures say.
pub fn score<E: From<ScoreError>>(
    codec: &dyn Codec<Media = Picture>,
    pictures: impl Iterator<Item = Result<Picture, E>>,
    mut seen: impl FnMut(&Picture, &Picture),
) -> Result<Score, E> {
    let mut counts = vec![0; codec.books().iter().map(|&book| book as usize).sum()];
    let starts: Vec<usize> =
        codec.books().iter().scan(0, |next, &book| Some(std::mem::replace(next, *next + book as usize))).collect();
    let (mut psnr, mut ssim, mut count) = (0.0, 0.0, 0);
    let mut pairs = Vec::new();
    let mut pictures = pictures.peekable();
    while let Some(picture) = pictures.next() {
        let picture = picture?;
        let codes = codec.encode(&picture).map_err(ScoreError::from)?;
        for place in codes.values.chunks_exact(codes.books) {
            place.iter().zip(&starts).for_each(|(&code, start)| counts[start + code as usize] += 1);
        }
        let reconstruction = codec.decode(&codes).map_err(ScoreError::from)?;
        seen(&picture, &reconstruction);
        pairs.push((picture, reconstruction));
        if pairs.len() == 64 || pictures.peek().is_none() {
            let found: Result<Vec<_>, _> = pairs.par_iter().map(|(a, b)| compare(a, b)).collect();
            for [a, b] in found.map_err(ScoreError::from)? {
                (psnr, ssim, count) = (psnr + a, ssim + b, count + 1);
            }
            pairs.clear();
        }
    }
    let mean = |sum: f64| sum / f64::from(count.max(1));
    Ok(Score { pictures: count as usize, psnr: mean(psnr), ssim: mean(ssim), counts })
}

/// Stacks of pictures side by side, on white: pictures above their reconstructions. All are of one size, the stacks of one height.
#[must_use]
pub fn grid(stacks: &[Vec<Picture>], columns: usize) -> Option<Picture> {
    const GAP: usize = 4;
    let (first, columns) = (stacks.first()?.first()?, columns.clamp(1, stacks.len()));
    let (width, height) = (first.width, first.height);
    let (down, high) = (stacks.len().div_ceil(columns), stacks[0].len() * (height + GAP) + GAP);
    let (whole_width, whole_height) = (columns * (width + GAP) + GAP, down * high + GAP);
    let mut sheet = Picture::filled(whole_width, whole_height, [255; 3])?;
    for (index, stack) in stacks.iter().enumerate() {
        let (x, y) = (GAP + index % columns * (width + GAP), GAP + index / columns * high);
        for (part, picture) in stack.iter().take(stacks[0].len()).enumerate() {
            for (row, pixels) in picture.rgb.chunks_exact(3 * width).take(height).enumerate() {
                let at = 3 * ((y + part * (height + GAP) + row) * whole_width + x);
                sheet.rgb[at..at + pixels.len()].copy_from_slice(pixels);
            }
        }
    }
    Some(sheet)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn usage_and_perplexity_count_codes() {
        let score = |counts: &[u64]| Score { pictures: 1, psnr: 0.0, ssim: 0.0, counts: counts.to_vec() };
        assert_eq!(score(&[5, 5, 5, 5]).usage(), 1.0);
        assert!((score(&[5, 5, 5, 5]).perplexity() - 4.0).abs() < 1e-9);
        assert_eq!(score(&[5, 0, 5, 0]).usage(), 0.5);
        assert!((score(&[9, 0, 9, 0]).perplexity() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_grid_has_pictures_above_reconstructions() {
        let colour = |value| Picture::filled(8, 6, [value; 3]).unwrap();
        let stacks = [[1, 2], [3, 4], [5, 6]].map(|stack| stack.map(colour).to_vec());
        let sheet = grid(&stacks, 2).unwrap();
        let at = |x: usize, y: usize| sheet.rgb[3 * (y * sheet.width + x)];
        assert_eq!((at(5, 5), at(5, 15), at(17, 5), at(17, 15), at(5, 30)), (1, 2, 3, 4, 5));
        assert!(grid(&[], 4).is_none());
    }
}
