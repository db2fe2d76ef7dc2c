//! PESQ: how good speech sounds to people, predicted.
//!
//! ITU-T P.862 (2001) in the wideband form of P.862.2 (2007), by the crate `pesq`. The ITU's own program, as packaged in
//! Python's `pesq` 0.0.4, was compared with it on synthetic speech: with noise, fewer bands, coarse steps, clipping, gaps,
//! delays and changed phases the scores differ by 3e-4 at most; where nearly all of the speech is gone, by 0.02, and for a
//! constant in its place by 0.07. The crate gives full marks to silence, and panics over some sounds whose parts are seconds
//! apart; both are errors here.

use std::panic::catch_unwind;

use super::{MetricError, comparable};

/// Samples a second of the sounds to compare.
pub const RATE: u32 = 16_000;

/// Samples that PESQ needs: a quarter of a second.
const SHORTEST: usize = 4000;

/// PESQ-WB of sounds at [`RATE`], as a mean opinion score: from about 1.02 to 4.64, which equal sounds have.
///
/// Samples are rounded to 16 bits first. Levels are brought in line, and delays found, before anything is compared.
///
/// # Errors
/// Different lengths, samples that are not finite, less than a quarter of a second; a silent reference; no speech in either,
/// as when the second is silent; parts that cannot be aligned.
pub fn pesq_wideband(reference: &[f32], degraded: &[f32]) -> Result<f64, MetricError> {
    comparable(reference, degraded)?;
    let (unit, found) = ("samples", reference.len());
    let too_short = MetricError::TooShort { metric: "PESQ", needed: SHORTEST, unit, found };
    if found < SHORTEST {
        return Err(too_short);
    }
    let [reference, degraded] = [reference, degraded].map(words);
    let silent = |words: &[i16]| words.iter().all(|&word| word == 0);
    if silent(&reference) {
        return Err(MetricError::Silent { metric: "PESQ" });
    }
    if silent(&degraded) {
        return Err(MetricError::NoSpeech); // the ITU's program ends with what is not a number
    }
    // Version 0.2.0 subtracts past zero where an estimated delay leads beyond the end.
    match catch_unwind(|| ::pesq::pesq_wb(&reference, &degraded)) {
        Ok(Ok(score)) => Ok(score.into()),
        Ok(Err(::pesq::PesqError::SignalTooShort { .. })) => Err(too_short),
        Ok(Err(::pesq::PesqError::NoUtterancesFound)) => Err(MetricError::NoSpeech),
        Err(_) => Err(MetricError::Alignment),
    }
}

fn words(samples: &[f32]) -> Vec<i16> {
    samples.iter().map(|&sample| (sample * 32768.0).round() as i16).collect() // what is too loud is clipped
}
