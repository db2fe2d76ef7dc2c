//! Sound files: the right samples of legal files, and an error for the others.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod build;
mod sound_coded;
mod sound_hostile;
mod sound_rate;
mod sound_wav;
mod sound_write;

use jielong_audio::sound::{Problem, Reading, Sound};

/// As the file is: its own rate.
const AS_IT_IS: Reading = Reading { rate: None, seconds: 3600.0 };

fn decode(bytes: &[u8]) -> Result<Sound, Problem> {
    Sound::decode("x", bytes, &AS_IT_IS).map_err(|error| error.problem)
}

fn samples(bytes: &[u8]) -> Vec<f32> {
    decode(bytes).unwrap().samples
}
