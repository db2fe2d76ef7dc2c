//! How much of a sound was lost: what a codec made of it, compared with what it was given.
//!
//! [`stoi`] says how well speech can be understood, [`pesq`] how good it sounds to people, [`mel`] how far spectra are
//! apart, [`sdr`] how far waves are apart. They take samples of one channel, full scale ±1; the rates are said there.

pub mod mel;
pub mod pesq;
mod resample;
pub mod sdr;
pub mod stoi;
#[cfg(test)]
mod tests;

use crate::spectrum::SpectrumError;

/// Why two sounds cannot be compared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// Different lengths.
    #[error("a sound of {reference} samples cannot be compared with one of {degraded}: cut the longer one")]
    Lengths {
        /// Samples of the original.
        reference: usize,
        /// Samples of what became of it.
        degraded: usize,
    },
    /// Not enough to measure.
    #[error("{metric} needs {needed} {unit} or more, found {found}")]
    TooShort {
        /// What was to be measured.
        metric: &'static str,
        /// How much it needs.
        needed: usize,
        /// Of what.
        unit: &'static str,
        /// How much there is.
        found: usize,
    },
    /// An infinity, or what is not a number.
    #[error("sample {place} is {sample}: expected finite numbers")]
    NotFinite {
        /// Where, counted from 0.
        place: usize,
        /// What was found.
        sample: f32,
    },
    /// Nothing to compare with.
    #[error("{metric} needs a reference that is not silent")]
    Silent {
        /// What was to be measured.
        metric: &'static str,
    },
    /// No speech was found.
    #[error("PESQ found no speech in the sounds")]
    NoSpeech,
    /// Delays that cannot be found.
    #[error("PESQ cannot align the sounds: too little of the one is in the other")]
    Alignment,
    /// No such spectrum.
    #[error(transparent)]
    Spectrum(#[from] SpectrumError),
}

/// Refuses different lengths and what is not finite.
fn comparable(reference: &[f32], degraded: &[f32]) -> Result<(), MetricError> {
    if reference.len() != degraded.len() {
        return Err(MetricError::Lengths { reference: reference.len(), degraded: degraded.len() });
    }
    let places = || reference.iter().chain(degraded);
    match places().position(|sample| !sample.is_finite()) {
        Some(index) => Err(MetricError::NotFinite {
            place: index % reference.len(),
            sample: places().nth(index).copied().unwrap_or(f32::NAN),
        }),
        None => Ok(()),
    }
}
