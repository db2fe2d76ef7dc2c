//! Metrics against the programs that others compare with, and what they do at the edges.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::mel::{SCALES, mel_distance, mel_distances};
use super::pesq::pesq_wideband;
use super::sdr::{Mean, si_sdr};
use super::stoi::{Intelligibility, stoi};
use super::{MetricError, stoi::RATE};

const OURS: &str = "../../tests/oracle/sound-metrics";
const SHARED: &str = "../../../shared/oracle/metrics";

/// A folder from this crate's, if it is there.
fn folder(path: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if !folder.exists() {
        println!("skipped: no {}", folder.display());
    }
    folder.exists().then_some(folder)
}

/// Samples of a file of ours: one channel of 16 bits.
fn open(path: &Path) -> Vec<f32> {
    let reader = hound::WavReader::open(path).unwrap();
    assert_eq!(reader.spec().sample_rate, RATE);
    reader.into_samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32768.0).collect()
}

/// What is known of each pair of a folder, with both sounds.
fn pairs(folder: &Path) -> Vec<(Value, Vec<f32>, Vec<f32>)> {
    let json: Value = serde_json::from_slice(&std::fs::read(folder.join("metrics.json")).unwrap()).unwrap();
    let sound = |name: &Value| open(&folder.join(name.as_str().unwrap()));
    let pair = |pair: &Value| (pair.clone(), sound(&pair["ref"]), sound(&pair["deg"]));
    json["speech"].as_array().unwrap().iter().map(pair).collect()
}

/// Compares all pairs of both folders with the number of a key.
fn compare(key: &str, tolerance: f64, metric: impl Fn(&[f32], &[f32]) -> Result<f64, MetricError>) {
    let mut worst = 0f64;
    for (numbers, reference, degraded) in [OURS, SHARED].into_iter().filter_map(folder).flat_map(|path| pairs(&path)) {
        let (ours, theirs) = (metric(&reference, &degraded).unwrap(), numbers[key].as_f64().unwrap());
        worst = worst.max((ours - theirs).abs());
        assert!((ours - theirs).abs() < tolerance, "{key} of {}: {ours}, expected {theirs}", numbers["deg"]);
    }
    println!("{key}: largest difference {worst:.1e}");
}

#[test]
fn stoi_is_that_of_pystoi() {
    compare("stoi", 1e-10, |a, b| stoi(a, b, Intelligibility::Stoi));
    compare("estoi", 1e-10, |a, b| stoi(a, b, Intelligibility::Estoi));
}

#[test]
fn si_sdr_is_that_of_the_formula() {
    compare("si_sdr_db", 1e-9, |a, b| si_sdr(a, b, Mean::Kept));
    compare("si_sdr_zero_mean_db", 1e-9, |a, b| si_sdr(a, b, Mean::Removed));
}

#[test]
fn pesq_is_that_of_the_itu() {
    compare("pesq_wb", 2e-4, pesq_wideband);
}

#[test]
fn mel_distances_are_those_over_librosa() {
    let mut worst = 0f64;
    for (numbers, reference, degraded) in folder(OURS).into_iter().flat_map(|path| pairs(&path)) {
        let distances = mel_distances(&reference, &degraded, RATE).unwrap();
        for (scale, ours) in distances.iter().enumerate() {
            let theirs = numbers["mel_distances"][scale].as_f64().unwrap();
            worst = worst.max((ours - theirs).abs());
            assert!((ours - theirs).abs() < 1e-9, "{:?}: {ours}, expected {theirs}", SCALES[scale]);
        }
        assert_eq!(mel_distance(&reference, &degraded, RATE).unwrap(), distances.iter().sum::<f64>());
    }
    println!("mel distances: largest difference {worst:.1e}");
}

#[test]
fn equal_sounds_are_equal() {
    let sound = open(&folder(OURS).unwrap().join("low.wav"));
    for which in [Intelligibility::Stoi, Intelligibility::Estoi] {
        assert!((stoi(&sound, &sound, which).unwrap() - 1.0).abs() < 1e-9);
    }
    assert_eq!(si_sdr(&sound, &sound, Mean::Kept), Ok(f64::INFINITY));
    assert_eq!(mel_distance(&sound, &sound, RATE), Ok(0.0));
    assert!((pesq_wideband(&sound, &sound).unwrap() - 4.6439).abs() < 1e-4);
    let quieter: Vec<f32> = sound.iter().map(|sample| sample * 0.3).collect();
    assert!(si_sdr(&sound, &quieter, Mean::Kept).unwrap() > 130.0);
}

#[test]
fn silence_has_nothing_of_speech_and_nothing_can_be_compared_with_it() {
    let sound = open(&folder(OURS).unwrap().join("low.wav"));
    let silence = vec![0.0; sound.len()];
    for which in [Intelligibility::Stoi, Intelligibility::Estoi] {
        assert!(stoi(&sound, &silence, which).unwrap().abs() < 1e-9);
        assert_eq!(stoi(&silence, &sound, which), Err(MetricError::Silent { metric: "STOI" }));
    }
    assert_eq!(si_sdr(&sound, &silence, Mean::Kept), Ok(f64::NEG_INFINITY));
    assert_eq!(si_sdr(&silence, &sound, Mean::Kept), Err(MetricError::Silent { metric: "SI-SDR" }));
    assert_eq!(si_sdr(&[0.25; 9], &[0.5; 9], Mean::Removed), Err(MetricError::Silent { metric: "SI-SDR" }));
    assert!(mel_distance(&sound, &silence, RATE).unwrap() > 7.0);
    assert_eq!(mel_distance(&silence, &silence, RATE), Ok(0.0));
    assert_eq!(pesq_wideband(&sound, &silence), Err(MetricError::NoSpeech));
    assert_eq!(pesq_wideband(&silence, &sound), Err(MetricError::Silent { metric: "PESQ" }));
}

/// All metrics of a pair.
fn all(reference: &[f32], degraded: &[f32]) -> [Result<f64, MetricError>; 6] {
    [
        stoi(reference, degraded, Intelligibility::Stoi),
        stoi(reference, degraded, Intelligibility::Estoi),
        si_sdr(reference, degraded, Mean::Kept),
        si_sdr(reference, degraded, Mean::Removed),
        mel_distance(reference, degraded, RATE),
        pesq_wideband(reference, degraded),
    ]
}

#[test]
fn what_cannot_be_compared_is_refused() {
    for result in all(&[0.5; 3], &[0.5; 4]) {
        assert_eq!(result, Err(MetricError::Lengths { reference: 3, degraded: 4 }));
    }
    for wrong in [f32::NAN, f32::INFINITY] {
        for result in all(&[0.5; 3], &[0.5, wrong, 0.5]) {
            assert!(matches!(result, Err(MetricError::NotFinite { place: 1, .. })), "{result:?}");
        }
    }
    for result in all(&[], &[]) {
        assert!(result.is_err(), "{result:?}");
    }
    for (samples, frames) in [(1, 0), (3000, 12)] {
        let too_short = stoi(&vec![0.5; samples], &vec![0.5; samples], Intelligibility::Stoi);
        assert!(
            matches!(too_short, Err(MetricError::TooShort { needed: 30, found, .. }) if found == frames),
            "{too_short:?}"
        );
    }
    assert!(matches!(mel_distance(&[0.5], &[0.5], 0), Err(MetricError::Spectrum(_))));
    assert!(matches!(pesq_wideband(&[0.5; 9], &[0.5; 9]), Err(MetricError::TooShort { needed: 4000, found: 9, .. })));
}

/// Noise of a level, the same for the same seed.
fn noise(length: usize, level: f32, seed: u32) -> Vec<f32> {
    let next = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some(level * f32::from((*state >> 16) as i16) / 32768.0)
    };
    (0..length).scan(seed, |state, _| next(state)).collect()
}

#[test]
fn a_part_that_is_seconds_away_is_no_panic() {
    let mut reference = noise(48_000, 0.25, 1);
    reference[16_000..20_000].fill(0.0);
    let mut degraded = reference.clone();
    degraded[..38_400].fill(0.0);
    let result = pesq_wideband(&reference, &degraded);
    assert!(matches!(result, Ok(_) | Err(MetricError::Alignment)), "{result:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_sound_has_numbers_or_a_reason(
        length in prop_oneof![0usize..3, 3usize..3000, 3990usize..12_000],
        seed in any::<u32>(),
        levels in prop::array::uniform2(prop::sample::select(vec![0.0, 1e-30, 1e-4, 0.3, 1e6, f32::MAX])),
        quiet in 0usize..8000,
    ) {
        let [reference, degraded] = levels.map(|level| {
            let mut sound = noise(length, level, seed ^ level.to_bits());
            sound.iter_mut().take(quiet).for_each(|sample| *sample = 0.0);
            sound
        });
        let any = f64::NEG_INFINITY..=f64::INFINITY;
        let ranges = [-1.001..=1.001, -1.001..=1.001, any.clone(), any, 0.0..=1e6, 0.9..=4.7];
        for (result, range) in all(&reference, &degraded).into_iter().zip(ranges) {
            if let Ok(number) = result {
                prop_assert!(range.contains(&number), "{number} is not in {range:?}");
            }
        }
    }
}
