//! FLAC, MP3 and Ogg files, against the WAV file that they were made of (`scripts/make_sound_oracle.sh`).

use std::path::{Path, PathBuf};

use jielong_audio::sound::{Format, Problem, Reading, Sound};
use proptest::prelude::*;

use crate::{AS_IT_IS, decode, samples};

fn oracle(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/sounds").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(oracle(name)).unwrap()
}

fn tone() -> Vec<f32> {
    let sound = Sound::open(&oracle("tone.wav"), &AS_IT_IS).unwrap();
    assert_eq!((sound.rate, sound.samples.len()), (16_000, 3840));
    sound.samples
}

/// Error in decibels, without the ends.
fn decibels(found: &[f32], expected: &[f32]) -> f64 {
    let power = |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>();
    let error = power(&mut (400..3400).map(|i| found[i] - expected[i]));
    10.0 * (error / power(&mut expected[400..3400].iter().copied())).log10()
}

#[test]
fn lossless_files_are_the_same() {
    let tone = tone();
    for name in ["tone.flac", "tone.oga"] {
        let sound = Sound::open(&oracle(name), &AS_IT_IS).unwrap();
        assert_eq!(sound.rate, 16_000);
        assert!(sound.samples == tone, "{name}");
    }
    let mean = samples(&bytes("stereo24.flac"));
    assert_eq!(mean.len(), tone.len());
    for (found, expected) in mean.iter().zip(&tone) {
        assert!((found - 0.75 * expected).abs() < 1e-6, "{found} for {expected}");
    }
}

#[test]
fn lossy_files_are_near_and_in_time() {
    let tone = tone();
    // Shifted by a sample, they would be at -13 dB.
    for (name, limit) in [("tone.mp3", -25.0), ("tone.ogg", -30.0)] {
        let sound = Sound::open(&oracle(name), &AS_IT_IS).unwrap();
        assert_eq!((sound.rate, sound.samples.len()), (16_000, 3840), "{name}");
        let error = decibels(&sound.samples, &tone);
        assert!(error < limit, "{name}: {error:.1} dB");
    }
}

#[test]
fn the_default_is_16_khz_and_an_hour() {
    let reading = Reading { rate: Some(8000), ..Reading::default() };
    assert_eq!(Sound::open(&oracle("tone.flac"), &reading).unwrap().samples.len(), 1920);
    for name in ["tone.flac", "tone.oga", "tone.ogg", "tone.mp3"] {
        let error = Sound::open(&oracle(name), &Reading { seconds: 0.1, ..AS_IT_IS }).unwrap_err();
        assert!(matches!(error.problem, Problem::TooLong { limit: 0.1, .. }), "{error}");
    }
}

#[test]
fn formats_are_known_by_content() {
    let format = |name| Sound::format(&bytes(name)[..12]);
    assert_eq!(format("tone.wav"), Some(Format::Wav));
    assert_eq!(format("tone.flac"), Some(Format::Flac));
    assert_eq!(format("tone.ogg"), Some(Format::Ogg));
    assert_eq!(format("tone.mp3"), None, "it begins with a tag");
    assert_eq!(Sound::format(&bytes("tone.mp3")[first_frame()..]), Some(Format::Mp3));
}

fn first_frame() -> usize {
    bytes("tone.mp3").windows(2).position(|word| word == [0xff, 0xf3]).unwrap()
}

#[test]
fn tags_do_not_matter() {
    let (mp3, flac) = (bytes("tone.mp3"), bytes("tone.flac"));
    let (plain_mp3, plain_flac) = (samples(&mp3), samples(&flac));
    assert!(samples(&mp3[first_frame()..]) == plain_mp3);
    // Old tags at the end.
    let old = [mp3.as_slice(), b"TAG", &[0; 125]].concat();
    assert!(samples(&old) == plain_mp3);
    // A tag before FLAC, which has no business there; and a picture of which 4 GiB are claimed, inside.
    assert!(samples(&[b"ID3\x04\0\0\0\0\0\x02ab".as_slice(), &flac].concat()) == plain_flac);
    let claims = [[0u8; 28].as_slice(), &[0xff; 4]].concat();
    let picture = [&[6, 0, 0, claims.len() as u8], claims.as_slice()].concat();
    assert!(samples(&[&flac[..42], &picture, &flac[42..]].concat()) == plain_flac);
}

#[test]
fn files_that_break_off() {
    let flac = bytes("tone.flac");
    for end in [4, 20, 41, 60] {
        assert!(matches!(decode(&flac[..end]), Err(Problem::CutOff { .. })), "{end}");
    }
    let error = decode(&flac[..flac.len() - 300]).unwrap_err();
    assert!(matches!(error, Problem::CutOff { bytes, .. } if bytes == flac.len() as u64 - 300), "{error}");
    // A frame that is damaged is left out by the decoder, without a word; and a header may promise too little.
    let mut damaged = flac.clone();
    damaged[300] ^= 0x10;
    let error = decode(&damaged).unwrap_err();
    assert!(matches!(error, Problem::Count { expected: 3840, samples: 0..3840, .. }), "{error}");
    let fewer = [&flac[..24], &[1, 0], &flac[26..]].concat();
    let error = decode(&fewer).unwrap_err();
    assert!(matches!(error, Problem::Count { expected: 256, samples: 3840, .. }), "{error}");
    let ogg = bytes("tone.ogg");
    assert!(matches!(decode(&ogg[..ogg.len() - 300]), Err(Problem::CutOff { .. })));
    // MP3 has no end: what is there is the sound.
    let mp3 = bytes("tone.mp3");
    let cut = samples(&mp3[..mp3.len() - 300]);
    assert!((2000..3840).contains(&cut.len()), "{}", cut.len());
}

#[test]
fn flac_without_samples_or_with_a_wrong_rate() {
    let flac = bytes("tone.flac");
    let head = |rate: u32, samples: u8| {
        let mut head = flac[..42].to_vec();
        (head[4], head[25]) = (0x80, samples);
        head[22..25].fill(0);
        head[21] &= 0xf0;
        head[18..20].copy_from_slice(&((rate >> 4) as u16).to_be_bytes());
        head[20] = (rate << 4) as u8 | (head[20] & 0x0f);
        head
    };
    assert_eq!(decode(&head(16_000, 0)).unwrap(), Sound { rate: 16_000, samples: vec![] });
    assert!(matches!(decode(&head(0, 0)), Err(Problem::Rate { rate: 0, .. })));
    assert!(matches!(decode(&head(16_000, 9)), Err(Problem::CutOff { .. })));
}

#[test]
fn other_codecs_and_several_streams() {
    let error = decode(&bytes("tone.opus")).unwrap_err().to_string();
    assert!(error.contains("Opus"), "{error}");
    let error = decode(&[bytes("tone.ogg"), bytes("tone.ogg")].concat()).unwrap_err().to_string();
    assert!(error.contains("second stream"), "{error}");
    assert!(matches!(decode(b"\xff\xfb\x90\x44"), Err(Problem::Broken { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn damage_never_panics(
        name in prop::sample::select(vec!["tone.wav", "tone.flac", "tone.oga", "tone.ogg", "tone.mp3", "stereo24.flac"]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = bytes(name);
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }
        bytes.truncate(end.index(2 * bytes.len()).max(1));
        if let Ok(sound) = decode(&bytes) {
            prop_assert!(sound.samples.iter().all(|sample| sample.is_finite()));
        }
    }
}
