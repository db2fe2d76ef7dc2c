//! SI-SDR, the scale-invariant ratio of signal to distortion.
//!
//! Le Roux, Wisdom, Erdogan, Hershey, "SDR – half-baked or well done?" (2019), section 3: the sound `ŝ` is split into the part
//! that is the reference `s` at some level, `α s` with `α = ⟨ŝ, s⟩ / ⟨s, s⟩`, and the rest. It compares waves sample by
//! sample, so a delay that no one hears costs much.

use super::{MetricError, comparable};

/// Whether a constant in the samples counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mean {
    /// Samples as they are: the paper's formula.
    Kept,
    /// Means taken off first, as many programs do.
    Removed,
}

/// SI-SDR in dB, `10 log10(|α s|² / |ŝ - α s|²)`, of any rate.
///
/// Infinite for equal sounds, negative infinity for one that has nothing of the reference, as silence. A sound that differs
/// in level alone has some 150 dB, what is left by the rounding of its samples.
///
/// # Errors
/// Different lengths, samples that are not finite, a silent or empty reference.
pub fn si_sdr(reference: &[f32], degraded: &[f32], mean: Mean) -> Result<f64, MetricError> {
    comparable(reference, degraded)?;
    let (s, e) = (centred(reference, mean), centred(degraded, mean));
    let power = dot(&s, &s);
    if power == 0.0 {
        return Err(MetricError::Silent { metric: "SI-SDR" });
    }
    let level = dot(&e, &s) / power;
    let target = level * level * power;
    let rest: f64 = e.iter().zip(&s).map(|(e, s)| (e - level * s) * (e - level * s)).sum();
    // Zero over zero, when the sound is silent: nothing of the reference is there.
    Ok(if target == 0.0 { f64::NEG_INFINITY } else { 10.0 * (target / rest).log10() })
}

fn centred(samples: &[f32], mean: Mean) -> Vec<f64> {
    let sum: f64 = samples.iter().copied().map(f64::from).sum();
    let mean = if mean == Mean::Removed { sum / samples.len() as f64 } else { 0.0 };
    samples.iter().map(|&sample| f64::from(sample) - mean).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
