//! Sounds at a rate in simple proportion, as Octave's `resample` makes them: what the published numbers of STOI rest on.
//!
//! One low-pass filter at the least common multiple of the rates, a sinc under a Kaiser window with a stop band of -60 dB.
//! Kaiser's formulas for its length and shape: Oppenheim, Schafer, Buck, "Discrete-time signal processing" (1999), chapter 7.

use std::f64::consts::PI;

/// `samples` at `up / down` of their rate: `⌈samples · up / down⌉` of them, the first where it was. Beyond the ends is silence.
///
/// `up` and `down` have no common divisor and are not 0.
pub(super) fn resample(samples: &[f32], up: usize, down: usize) -> Vec<f64> {
    let filter = low_pass(up, down);
    let half = filter.len() / 2;
    let sample = |place: usize| {
        let centre = place * down; // where it is at `up` times the rate, where sample `k` is at `k · up`
        let first = centre.saturating_sub(half).div_ceil(up);
        let last = ((centre + half) / up + 1).min(samples.len());
        let near = samples.get(first..last).unwrap_or(&[]).iter();
        (first..).zip(near).map(|(k, &x)| filter[centre + half - k * up] * f64::from(x)).sum()
    };
    (0..(samples.len() * up).div_ceil(down)).map(sample).collect()
}

/// Weights that add up to `up`: an odd number of them, the same from both ends.
fn low_pass(up: usize, down: usize) -> Vec<f64> {
    const REJECTION: f64 = 60.0; // dB
    let cutoff = 1.0 / (2 * up.max(down)) as f64; // in turns a sample; the filter falls off within a tenth of it
    let half = ((REJECTION - 8.0) / (28.714 * cutoff / 10.0)).ceil();
    let beta = 0.1102 * (REJECTION - 8.7);
    let weight = |place: i32| {
        let place = f64::from(place);
        let turn = 2.0 * PI * cutoff * place;
        let sinc = if place == 0.0 { 1.0 } else { turn.sin() / turn };
        sinc * bessel(beta * (1.0 - (place / half).powi(2)).max(0.0).sqrt())
    };
    let weights: Vec<f64> = (-(half as i32)..=half as i32).map(weight).collect();
    let scale = up as f64 / weights.iter().sum::<f64>();
    weights.into_iter().map(|weight| weight * scale).collect()
}

/// The modified Bessel function of the first kind and order 0, by its power series.
fn bessel(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let term = |term: &mut f64, k: u32| {
        *term *= quarter / f64::from(k * k);
        Some(*term)
    };
    1.0 + (1..60).scan(1.0, term).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_wave_keeps_its_shape() {
        let wave = |rate: f64| move |place: usize| (place as f64 * 440.0 * 2.0 * PI / rate).sin();
        let samples: Vec<f32> = (0..1600).map(wave(16_000.0)).map(|sample| sample as f32).collect();
        let resampled = resample(&samples, 5, 8);
        assert_eq!(resampled.len(), 1000);
        for (place, sample) in resampled.iter().enumerate().take(950).skip(50) {
            assert!((sample - wave(10_000.0)(place)).abs() < 2e-3, "{place}: {sample}");
        }
    }

    #[test]
    fn short_sounds_have_lengths_too() {
        for samples in 0..20usize {
            assert_eq!(resample(&vec![1.0; samples], 5, 8).len(), (samples * 5).div_ceil(8));
        }
    }

    #[test]
    fn bessel_is_that_of_the_tables() {
        assert!((bessel(1.0) - 1.266_065_877_752_008_4).abs() < 1e-15);
        assert!((bessel(5.0) - 27.239_871_823_604_44).abs() < 1e-12);
    }
}
