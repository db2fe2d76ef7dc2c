//! Sound as a WAV file.

use jielong_audio::sound::{Sound, WriteError};
use proptest::prelude::*;

use crate::build::{mono16, words};
use crate::decode;

fn stored(samples: &[f32]) -> Vec<i16> {
    let wav = Sound { rate: 16_000, samples: samples.to_vec() }.to_wav().unwrap();
    wav[44..].chunks(2).map(|word| i16::from_le_bytes([word[0], word[1]])).collect()
}

#[test]
fn the_bytes_are_those_of_a_plain_file() {
    let sound = Sound { rate: 16_000, samples: vec![0.5, -0.5, 0.0] };
    assert_eq!(sound.to_wav().unwrap(), mono16().wav(&words(&[0x4000, -0x4000, 0])));
    assert_eq!(Sound { rate: 16_000, samples: vec![] }.to_wav().unwrap(), mono16().wav(b""));
}

#[test]
fn rounded_and_clipped() {
    let step = 1.0 / 32_768.0;
    assert_eq!(stored(&[0.4 * step, 0.6 * step, -0.4 * step, -0.6 * step]), [0, 1, 0, -1]);
    assert_eq!(stored(&[1.0, -1.0, 1.5, -1.5, 3e38, -3e38]), [32_767, -32_768, 32_767, -32_768, 32_767, -32_768]);
}

#[test]
fn what_cannot_be_written() {
    let write = |rate, sample| Sound { rate, samples: vec![0.0, sample] }.to_wav().unwrap_err();
    assert!(matches!(write(16_000, f32::NAN), WriteError::NotFinite { at: 1, .. }));
    assert!(matches!(write(16_000, f32::INFINITY), WriteError::NotFinite { at: 1, .. }));
    assert_eq!(write(0, 0.0), WriteError::Rate { rate: 0 });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(rate in 100u32..=768_000, samples in prop::collection::vec(-1.0f32..=1.0, 0..500)) {
        let sound = Sound { rate, samples };
        let again = decode(&sound.to_wav().unwrap()).unwrap();
        prop_assert_eq!((again.rate, again.samples.len()), (rate, sound.samples.len()));
        for (found, expected) in again.samples.iter().zip(&sound.samples) {
            prop_assert!((found - expected).abs() <= 1.0 / 32_767.0, "{} for {}", found, expected);
        }
        prop_assert_eq!(again.to_wav().unwrap(), sound.to_wav().unwrap());
    }
}
