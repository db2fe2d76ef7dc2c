//! How far a reconstruction is from its recording, in ways that have a gradient.
//!
//! Spectra at several resolutions (Yamamoto et al. 2020, *Parallel WaveGAN*, §2.2): the mean absolute difference of the
//! logarithms of mel bands and of magnitudes. Phases are free: what is heard of them is what neighbouring windows agree on, and
//! windows of several lengths see that.

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::codec::frames::{forward, magnitudes, mel, windows};

/// Weights of the parts of the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Weights {
    /// Of the mean absolute difference of the logarithms of mel bands.
    pub mel: f64,
    /// Of the mean absolute difference of the logarithms of magnitudes.
    pub magnitude: f64,
    /// Of the difference of magnitudes as a share of the recording's: the loud parts.
    pub convergence: f64,
    /// Of what moves the books to the vectors; for learned books.
    pub codebook: f64,
    /// Of what moves the vectors to the books.
    pub commitment: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { mel: 1.0, magnitude: 0.3, convergence: 0.5, codebook: 1.0, commitment: 0.25 }
    }
}

/// Below these, bands and bins count as silent.
const FLOOR_BAND: f64 = 1e-4;
const FLOOR_BIN: f64 = 1e-3;

/// The parts, each a mean over windows of all lengths.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Of mel bands.
    pub mel: Tensor<1>,
    /// Of magnitudes.
    pub magnitude: Tensor<1>,
    /// Of loud magnitudes.
    pub convergence: Tensor<1>,
}

/// What compares recordings.
#[derive(Debug)]
pub struct Comparison(Vec<Scale>);

/// Windows of one length.
#[derive(Debug)]
struct Scale {
    window: usize,
    transform: Tensor<2>,
    bands: Tensor<2>,
}

impl Comparison {
    /// For recordings of `rate` samples a second, seen through these windows with mel bands.
    #[must_use]
    pub fn new(scales: &[(usize, usize)], rate: u32, device: &Device) -> Self {
        let scale = |&(window, bands): &(usize, usize)| Scale {
            window,
            transform: forward(window, device),
            bands: mel(window, bands, rate, device),
        };
        Self(scales.iter().map(scale).collect())
    }

    /// Compares samples `[b, n]`; `n` is a multiple of a quarter of each window.
    #[must_use]
    pub fn parts(&self, found: &Tensor<2>, expected: &Tensor<2>) -> Parts {
        let device = found.device();
        let zero = || Tensor::<1>::zeros([1], &device);
        let (mut mel, mut magnitude, mut convergence) = (zero(), zero(), zero());
        for Scale { window, transform, bands } in &self.0 {
            let spectra = |samples: &Tensor<2>| {
                let rows = windows(samples.clone(), *window, window / 4);
                let [b, t, _] = rows.dims();
                magnitudes(rows.reshape([1, b * t, *window]), transform)
            };
            let (a, b) = (spectra(found), spectra(expected));
            let bands = |x: &Tensor<3>| x.clone().matmul(bands.clone().unsqueeze::<3>()).clamp_min(FLOOR_BAND).log();
            mel = mel + (bands(&a) - bands(&b)).abs().mean();
            let log = |x: &Tensor<3>| x.clone().clamp_min(FLOOR_BIN).log();
            magnitude = magnitude + (log(&a) - log(&b)).abs().mean();
            let difference = a - b.clone();
            let share = (difference.clone() * difference).sum() / ((b.clone() * b).sum() + 1e-3);
            convergence = convergence + (share + 1e-9).sqrt();
        }
        let count = self.0.len().max(1) as f64;
        Parts { mel: mel / count, magnitude: magnitude / count, convergence: convergence / count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn equal_recordings_have_no_loss_and_phases_hardly_count() {
        let device = Device::flex();
        device.seed(1);
        let comparison = Comparison::new(&[(256, 40), (1024, 80)], 16000, &device);
        let x = Tensor::<2>::random([2, 2048], Distribution::Uniform(-0.5, 0.5), &device);
        let parts = comparison.parts(&x, &x);
        for part in [parts.mel, parts.magnitude] {
            assert!(part.into_scalar::<f32>() < 1e-6);
        }
        let against = |y: Tensor<2>| comparison.parts(&y, &x).mel.into_scalar::<f32>();
        assert!(against(-x.clone()) < 1e-5, "a turn by half");
        let halved = against(x.clone() * 0.5);
        assert!((halved - std::f32::consts::LN_2).abs() < 0.02, "{halved}");
    }
}
