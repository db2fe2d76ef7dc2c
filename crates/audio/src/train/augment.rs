//! Random changes of recordings, so that few of them are many: another beginning, speed, loudness.

use jielong_nn::train::{ChangesError, Random};
use serde::{Deserialize, Serialize};

use crate::sound::{Problem, Sound};

/// Steps of the rate, in samples a second, as which a recording is taken to be faster or slower: of most rates a divisor.
const STEP: f64 = 50.0;

/// How recordings are changed. All are 0 by default: no change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// The most that is left out at the beginning, in seconds; a part of a frame is enough for other codes.
    pub shift: f64,
    /// The most that half of the recordings are faster and higher or slower and lower, as a factor less one: 0.25 is 0.8 to 1.25.
    pub speed: f64,
    /// The most that half of the recordings are louder or softer, in decibels.
    pub gain: f64,
}

impl Changes {
    /// Refuses what is no change: a shift is at most an hour, the speed at most twice, the gain at most 60 dB.
    ///
    /// # Errors
    /// [`ChangesError`], the first of them.
    pub fn check(&self) -> Result<(), ChangesError> {
        ChangesError::check(&[("shift", self.shift, 3600.0), ("speed", self.speed, 1.0), ("gain", self.gain, 60.0)])
    }

    /// The sound, changed at random, at its rate. At least a sample stays of it, if there was one.
    ///
    /// # Errors
    /// As [`Sound::resample`].
    pub fn apply(&self, mut sound: Sound, random: &mut Random) -> Result<Sound, Problem> {
        let skipped = (random.unit() * self.shift * f64::from(sound.rate)) as usize;
        sound.samples.drain(..skipped.min(sound.samples.len().saturating_sub(1)));
        let (speed, gain) = (random.half(self.speed), random.half(self.gain));
        if let Some(power) = speed {
            let rate = sound.rate;
            sound.rate = ((f64::from(rate) * (1.0 + self.speed).powf(power) / STEP).round() * STEP) as u32;
            sound = sound.resample(rate)?;
        }
        if let Some(share) = gain {
            let factor = 10f64.powf(share * self.gain / 20.0) as f32;
            sound.samples.iter_mut().for_each(|sample| *sample = (*sample * factor).clamp(-1.0, 1.0));
        }
        Ok(sound)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A second of 250 Hz.
    fn sound() -> Sound {
        let sample = |at: u32| 0.5 * (std::f32::consts::TAU * 250.0 * at as f32 / 16_000.0).sin();
        Sound { rate: 16_000, samples: (0..16_000).map(sample).collect() }
    }

    fn changed(changes: &Changes, seed: u64) -> Sound {
        changes.apply(sound(), &mut Random::at(&[seed])).unwrap()
    }

    #[test]
    fn nothing_is_changed_unless_asked_for() {
        assert_eq!(changed(&Changes::default(), 1), sound());
        let all = Changes { shift: 0.1, speed: 0.2, gain: 6.0 };
        assert_eq!(changed(&all, 3), changed(&all, 3));
        assert_ne!(changed(&all, 3), changed(&all, 4));
        let empty = Sound { rate: 16_000, samples: Vec::new() };
        assert_eq!(all.apply(empty.clone(), &mut Random::at(&[1])).unwrap(), empty);
        let long = Changes { shift: 3600.0, ..Changes::default() };
        assert!((0..20).all(|seed| !changed(&long, seed).samples.is_empty()));
    }

    #[test]
    fn recordings_begin_later_and_are_faster_and_louder() {
        let later = changed(&Changes { shift: 0.02, ..Changes::default() }, 5);
        let skipped = 16_000 - later.samples.len();
        assert!(skipped > 0 && skipped <= 320 && later.samples == sound().samples[skipped..]);
        let lengths: Vec<usize> =
            (0..40).map(|seed| changed(&Changes { speed: 0.25, ..Changes::default() }, seed).samples.len()).collect();
        assert!(lengths.iter().all(|length| (12_790..=20_010).contains(length)), "{lengths:?}");
        assert!(lengths.iter().any(|&length| length < 15_000) && lengths.iter().any(|&length| length > 17_000));
        assert!((5..35).contains(&lengths.iter().filter(|&&length| length == 16_000).count()));
        let peaks: Vec<f32> = (0..40)
            .map(|seed| changed(&Changes { gain: 12.0, ..Changes::default() }, seed))
            .map(|sound| sound.samples.iter().fold(0.0, |most: f32, sample| most.max(sample.abs())))
            .collect();
        assert!(peaks.iter().all(|peak| (0.12..=1.0).contains(peak)), "{peaks:?}");
        assert!(peaks.iter().any(|&peak| peak < 0.4) && peaks.iter().any(|&peak| peak > 0.7));
    }

    #[test]
    fn what_is_no_change_is_named() {
        for (changes, key) in [
            (Changes { shift: -1.0, ..Changes::default() }, "shift"),
            (Changes { speed: 1.5, ..Changes::default() }, "speed"),
            (Changes { gain: f64::NAN, ..Changes::default() }, "gain"),
        ] {
            assert_eq!(changes.check().unwrap_err().key, key);
        }
    }
}
