//! Spectra of sounds: magnitudes of a short-time Fourier transform, and mel bands of them.
//!
//! The numbers are those of librosa's `stft` (centred, padded by reflection, periodic Hann window) and `filters.mel` (Slaney
//! norm), which `torch.stft` and torchaudio share.

use std::ops::Range;
use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};

/// Why there is no such spectrum.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpectrumError {
    /// A window or a step of nothing.
    #[error("a window of {window} samples every {hop} samples: both must be 1 or more")]
    Window {
        /// Samples of the window.
        window: usize,
        /// Samples from one frame to the next.
        hop: usize,
    },
    /// Bands that are none.
    #[error("{bands} mel bands from {lowest} Hz to {highest} Hz: expected 1 or more, and 0 ≤ lowest < highest")]
    Bands {
        /// How many.
        bands: usize,
        /// Where the lowest begins, in Hz.
        lowest: f64,
        /// Where the highest ends, in Hz.
        highest: f64,
    },
}

/// Numbers over time and frequency.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrogram {
    /// Numbers of a frame: frequencies or bands, from low to high.
    pub bins: usize,
    /// Frame after frame: `[frames, bins]`.
    pub values: Vec<f64>,
}

impl Spectrogram {
    /// Frame after frame, `bins` numbers each.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.bins.max(1))
    }
}

/// A short-time Fourier transform: the window, and how far it moves.
#[derive(Clone)]
pub struct Stft {
    window: Vec<f64>,
    hop: usize,
    fft: Arc<dyn RealToComplex<f64>>,
}

impl Stft {
    /// A Hann window of `window` samples, every `hop` samples.
    ///
    /// # Errors
    /// Either is 0.
    pub fn new(window: usize, hop: usize) -> Result<Self, SpectrumError> {
        if window == 0 || hop == 0 {
            return Err(SpectrumError::Window { window, hop });
        }
        let step = std::f64::consts::TAU / window as f64;
        let hann = (0..window).map(|place| 0.5 - 0.5 * (step * place as f64).cos()).collect();
        Ok(Self { window: hann, hop, fft: RealFftPlanner::new().plan_fft_forward(window) })
    }

    /// Frequencies of a frame: `window / 2 + 1`, from 0 to half the rate.
    pub fn bins(&self) -> usize {
        self.window.len() / 2 + 1
    }

    /// Magnitudes, `[1 + samples / hop, bins]` for an even window; frame `i` is centred on sample `i · hop`.
    ///
    /// At the ends the sound is mirrored, again and again if it is shorter than half the window. No samples, no frames.
    pub fn magnitudes(&self, samples: &[f32]) -> Spectrogram {
        let (size, half) = (self.window.len(), self.window.len() / 2);
        let (mut frame, mut spectrum) = (self.fft.make_input_vec(), self.fft.make_output_vec());
        let mut scratch = self.fft.make_scratch_vec();
        let last = (samples.len() + 2 * half).checked_sub(size).filter(|_| !samples.is_empty());
        let starts = last.into_iter().flat_map(|last| (0..=last).step_by(self.hop));
        let mut values = Vec::new();
        for start in starts {
            for ((place, value), weight) in (start..).zip(&mut frame).zip(&self.window) {
                *value = weight * f64::from(samples[mirrored(place, half, samples.len())]);
            }
            // The only error is of lengths, and these buffers are the plan's own.
            if self.fft.process_with_scratch(&mut frame, &mut spectrum, &mut scratch).is_ok() {
                values.extend(spectrum.iter().map(|value| value.norm()));
            }
        }
        Spectrogram { bins: self.bins(), values }
    }
}

/// The sample at `place` of a sound with `half` mirrored ones before it.
fn mirrored(place: usize, half: usize, samples: usize) -> usize {
    if let Some(index) = place.checked_sub(half).filter(|&index| index < samples) {
        return index;
    }
    let period = (2 * (samples - 1)).max(1); // there and back again, without the ends twice
    let index = (place + period - half % period) % period;
    index.min(period - index)
}

/// How pitch grows with frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MelScale {
    /// Slaney, "Auditory toolbox" (1998): straight below 1 kHz, logarithmic above; librosa's default.
    Slaney,
    /// `2595 log10(1 + f / 700)`, of the Hidden Markov Model Toolkit.
    Htk,
}

impl MelScale {
    fn mel(self, hertz: f64) -> f64 {
        match self {
            Self::Slaney if hertz < 1000.0 => hertz * 3.0 / 200.0,
            Self::Slaney => 15.0 + (hertz / 1000.0).ln() * 27.0 / 6.4f64.ln(),
            Self::Htk => 2595.0 * (1.0 + hertz / 700.0).log10(),
        }
    }

    fn hertz(self, mel: f64) -> f64 {
        match self {
            Self::Slaney if mel < 15.0 => mel * 200.0 / 3.0,
            Self::Slaney => 1000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp(),
            Self::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
        }
    }
}

/// Triangles over frequencies, even on the mel scale, each of area 1 (Slaney's norm).
///
/// A triangle narrower than a bin may have no weight at all: then its band is 0.
#[derive(Clone, Debug, PartialEq)]
pub struct MelFilters {
    /// For each band its first bin, and weights from there on.
    bands: Vec<(usize, Vec<f64>)>,
}

impl MelFilters {
    /// `bands` triangles from 0 to half of `rate` (in Hz), for spectra of `window` samples.
    ///
    /// # Errors
    /// No band, or a rate of 0.
    pub fn new(scale: MelScale, rate: u32, window: usize, bands: usize) -> Result<Self, SpectrumError> {
        Self::within(scale, rate, window, bands, 0.0..f64::from(rate) / 2.0)
    }

    /// The same from and to other frequencies, in Hz.
    ///
    /// # Errors
    /// No band, no window, or no room between the frequencies.
    pub fn within(
        scale: MelScale,
        rate: u32,
        window: usize,
        bands: usize,
        hertz: Range<f64>,
    ) -> Result<Self, SpectrumError> {
        let (lowest, highest) = (hertz.start, hertz.end);
        if bands == 0 || !(lowest >= 0.0 && lowest < highest && highest.is_finite()) {
            return Err(SpectrumError::Bands { bands, lowest, highest });
        }
        if window == 0 {
            return Err(SpectrumError::Window { window, hop: 1 });
        }
        let (from, to) = (scale.mel(lowest), scale.mel(highest));
        let edge = |index: usize| scale.hertz(from + (to - from) * index as f64 / (bands + 1) as f64);
        let bin = f64::from(rate) / window as f64;
        let band = |index: usize| {
            let (left, centre, right) = (edge(index), edge(index + 1), edge(index + 2));
            let weight = |place: usize| {
                let hertz = place as f64 * bin;
                let slopes = ((hertz - left) / (centre - left)).min((right - hertz) / (right - centre));
                slopes.max(0.0) * 2.0 / (right - left)
            };
            let places = 0..window / 2 + 1;
            let first = places.clone().find(|&place| weight(place) > 0.0).unwrap_or(places.end);
            (first, (first..places.end).map(weight).take_while(|&weight| weight > 0.0).collect())
        };
        Ok(Self { bands: (0..bands).map(band).collect() })
    }

    /// Bands of each frame, `[frames, bands]`, of magnitudes or of powers: `[frames, window / 2 + 1]`.
    pub fn apply(&self, spectrogram: &Spectrogram) -> Spectrogram {
        let band = |frame: &[f64], (first, weights): &(usize, Vec<f64>)| -> f64 {
            frame.iter().skip(*first).zip(weights).map(|(value, weight)| value * weight).sum()
        };
        let bands = |frame| self.bands.iter().map(move |filter| band(frame, filter));
        Spectrogram { bins: self.bands.len(), values: spectrogram.frames().flat_map(bands).collect() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn close(ours: &[f64], theirs: &Value) {
        let theirs: Vec<f64> = theirs.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
        assert_eq!(ours.len(), theirs.len());
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f64::max);
        println!("largest difference {worst:.1e}");
        assert!(worst < 1e-6, "{worst}");
    }

    #[test]
    fn the_same_numbers_as_librosa() {
        let oracle: Value =
            serde_json::from_str(include_str!("../../../tests/oracle/sound-metrics/spectrum.json")).unwrap();
        let samples: Vec<f32> =
            oracle["samples"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
        let magnitudes = Stft::new(64, 16).unwrap().magnitudes(&samples);
        assert_eq!(magnitudes.frames().len(), 1 + samples.len() / 16);
        close(&magnitudes.values, &oracle["magnitudes"]);
        for (scale, name) in [(MelScale::Slaney, "slaney"), (MelScale::Htk, "htk")] {
            let filters = MelFilters::within(scale, 16_000, 64, 6, 100.0..7000.0).unwrap();
            close(&filters.apply(&magnitudes).values, &oracle[name]);
        }
        let filters = MelFilters::new(MelScale::Slaney, 16_000, 64, 12).unwrap();
        close(&filters.apply(&magnitudes).values, &oracle["whole_slaney"]);
    }

    #[test]
    fn a_tone_is_where_it_belongs() {
        let tone: Vec<f32> = (0..4000).map(|place| (std::f32::consts::TAU * place as f32 / 16.0).sin()).collect();
        let magnitudes = Stft::new(256, 64).unwrap().magnitudes(&tone);
        let frame = magnitudes.frames().nth(30).unwrap();
        let loudest = (0..frame.len()).max_by(|&a, &b| frame[a].total_cmp(&frame[b])).unwrap();
        assert_eq!(loudest, 16); // 1 kHz of 16 kHz
        assert!((frame[16] - 64.0).abs() < 1e-4); // half the sum of the window
    }

    #[test]
    fn what_cannot_be() {
        assert!(Stft::new(0, 1).is_err() && Stft::new(4, 0).is_err());
        assert!(MelFilters::new(MelScale::Htk, 16_000, 64, 0).is_err());
        assert!(MelFilters::new(MelScale::Htk, 0, 64, 4).is_err());
        assert!(MelFilters::new(MelScale::Htk, 16_000, 0, 4).is_err());
        assert!(MelFilters::within(MelScale::Slaney, 16_000, 64, 4, 90.0..f64::NAN).is_err());
    }

    #[test]
    fn mirrors() {
        let places: Vec<usize> = (0..11).map(|place| mirrored(place, 4, 3)).collect();
        assert_eq!(places, [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]);
        assert_eq!(mirrored(9, 4, 1), 0);
    }

    proptest! {
        #[test]
        fn any_length_has_its_frames(samples in 0usize..300, window in 1usize..70, hop in 1usize..40) {
            let sound: Vec<f32> = (0..samples).map(|place| (place as f32 * 0.7).sin()).collect();
            let magnitudes = Stft::new(window, hop).unwrap().magnitudes(&sound);
            let frames = if samples == 0 { 0 } else { 1 + (samples + window / 2 * 2 - window) / hop };
            prop_assert_eq!(magnitudes.frames().len(), frames);
            let filters = MelFilters::new(MelScale::Slaney, 16_000, window, 9).unwrap();
            prop_assert_eq!(filters.apply(&magnitudes).values.len(), frames * 9);
        }
    }
}
