//! The distance of mel spectra at several resolutions.
//!
//! This is the reconstruction loss of the Descript audio codec: Kumar, Seetharaman, Luebs, Kumar, Kumar, "High-fidelity audio
//! compression with improved RVQGAN" (2023), "Frequency domain reconstruction loss", with the settings of its published
//! `conf/base.yml`: for each of seven windows the mean absolute difference of `log10` of mel bands, and the sum of the seven.
//! Bands are sums of magnitudes, not of powers, under Slaney's triangles from 0 Hz to half the rate, and are at least `1e-5`;
//! magnitudes themselves add nothing.

use super::{MetricError, comparable};
use crate::spectrum::{MelFilters, MelScale, Spectrogram, Stft};

/// Windows in samples, and mel bands of each; a window moves by a quarter of itself.
pub const SCALES: [(usize, usize); 7] = [(32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320)];

/// What a band has at least: 100 dB below one of magnitude 1.
const FLOOR: f64 = 1e-5;

/// Mean absolute difference of `log10` mel bands at each of [`SCALES`]: 1 is 20 dB. `rate` is in Hz.
///
/// A sound shorter than a window is mirrored at its ends as often as it takes.
///
/// # Errors
/// Different lengths, samples that are not finite, no sample at all, a rate of 0.
pub fn mel_distances(reference: &[f32], degraded: &[f32], rate: u32) -> Result<[f64; 7], MetricError> {
    comparable(reference, degraded)?;
    if reference.is_empty() {
        return Err(MetricError::TooShort { metric: "a mel distance", needed: 1, unit: "samples", found: 0 });
    }
    let mut distances = [0.0; SCALES.len()];
    for (distance, (window, bands)) in distances.iter_mut().zip(SCALES) {
        let stft = Stft::new(window, window / 4)?;
        let filters = MelFilters::new(MelScale::Slaney, rate, window, bands)?;
        let bands = |samples| filters.apply(&stft.magnitudes(samples));
        *distance = difference(&bands(reference), &bands(degraded));
    }
    Ok(distances)
}

/// The sum of [`mel_distances`]: 0 for equal sounds, from some 1 to 20 for what codecs make.
///
/// # Errors
/// Those of [`mel_distances`].
pub fn mel_distance(reference: &[f32], degraded: &[f32], rate: u32) -> Result<f64, MetricError> {
    Ok(mel_distances(reference, degraded, rate)?.iter().sum())
}

fn difference(a: &Spectrogram, b: &Spectrogram) -> f64 {
    let log = |value: &f64| value.max(FLOOR).log10();
    let sum: f64 = a.values.iter().zip(&b.values).map(|(a, b)| (log(a) - log(b)).abs()).sum();
    sum / a.values.len() as f64
}
