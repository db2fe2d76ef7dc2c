//! Sound at another rate: the same sound.

use std::f64::consts::TAU;

use jielong_audio::sound::{Problem, Reading, Sound};
use proptest::prelude::*;

use crate::build::{Fmt, words};

/// A sine with a phase of its own.
fn sine(rate: u32, hertz: f64, len: usize) -> Vec<f32> {
    let value = |i: usize| 0.8 * (TAU * hertz * i as f64 / f64::from(rate) + 0.3).sin();
    (0..len).map(|i| value(i) as f32).collect()
}

/// Error against a reference in decibels, both without their ends.
fn decibels(found: &[f32], expected: &[f32], ends: usize) -> f64 {
    assert_eq!(found.len(), expected.len());
    let inner = ends..found.len() - ends;
    let power = |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>();
    let error = power(&mut inner.clone().map(|i| found[i] - expected[i]));
    10.0 * (error / power(&mut expected[inner].iter().copied())).log10()
}

#[test]
fn a_sine_stays_the_same_sine() {
    let pairs =
        [(44_100, 16_000), (8000, 16_000), (48_000, 16_000), (22_050, 16_000), (11_025, 16_000), (96_000, 24_000)];
    for (from, to) in pairs.into_iter().chain([(16_000, 8000), (16_000, 44_100), (44_101, 16_000), (22_255, 16_000)]) {
        let len = 2 * from as usize + 77;
        let expected = (len as f64 * f64::from(to) / f64::from(from)).round() as usize;
        let top = f64::from(from.min(to)) / 2.0;
        for hertz in [50.0, 440.0, 1234.5, 0.85 * top] {
            let sound = Sound { rate: from, samples: sine(from, hertz, len) }.resample(to).unwrap();
            assert_eq!((sound.rate, sound.samples.len()), (to, expected), "{from} → {to}");
            let error = decibels(&sound.samples, &sine(to, hertz, expected), to as usize / 4);
            assert!(error < -80.0, "{from} → {to}, {hertz} Hz: {error:.1} dB");
        }
    }
}

#[test]
fn what_the_lower_rate_cannot_hold_is_gone() {
    for hertz in [8300.0, 9000.0, 15_000.0, 21_000.0] {
        let sound = Sound { rate: 44_100, samples: sine(44_100, hertz, 88_200) }.resample(16_000).unwrap();
        let loudest = sound.samples[4000..28_000].iter().fold(0f32, |most, sample| most.max(sample.abs()));
        assert!(loudest < 1e-3, "{hertz} Hz: {loudest}");
    }
}

#[test]
fn files_come_at_the_rate_asked_for() {
    let file = Fmt::new(1, 1, 8000, 16).wav(&words(&[1000; 801]));
    let read = |rate| Sound::decode("x", &file, &Reading { rate, seconds: 1.0 }).unwrap();
    assert_eq!((read(None).rate, read(None).samples.len()), (8000, 801));
    assert_eq!((read(Some(16_000)).rate, read(Some(16_000)).samples.len()), (16_000, 1602));
    assert_eq!(Reading::default().rate, Some(16_000));
    assert_eq!(read(Some(8000)), read(None));
    // The middle of a constant is that constant.
    assert!(read(Some(16_000)).samples[700..900].iter().all(|sample| (sample * 32_768.0 - 1000.0).abs() < 0.5));
}

#[test]
fn the_shortest_sounds() {
    let read = |len: usize, from, to| Sound { rate: from, samples: vec![0.5; len] }.resample(to).unwrap().samples.len();
    assert_eq!(read(0, 44_100, 16_000), 0);
    assert_eq!(read(1, 44_100, 16_000), 0);
    assert_eq!(read(2, 44_100, 16_000), 1);
    assert_eq!(read(1, 8000, 16_000), 2);
    assert_eq!(read(1, 100, 16_000), 160);
    let error = Sound { rate: 767_999, samples: vec![0.0] }.resample(16_000).unwrap_err();
    assert!(matches!(error, Problem::Ratio { from: 767_999, .. }), "{error}");
    let error = Sound { rate: 0, samples: vec![0.0] }.resample(16_000).unwrap_err();
    assert!(matches!(error, Problem::TargetRate { rate: 0 }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn lengths_are_exact(from in 100u32..200_000, to in 100u32..200_000, len in 0usize..5000) {
        let sound = Sound { rate: from, samples: vec![0.25; len] };
        let exact = len as f64 * f64::from(to) / f64::from(from);
        match sound.resample(to) {
            Ok(sound) => prop_assert!((sound.samples.len() as f64 - exact).abs() <= 0.5),
            Err(error) => {
                let far = from.max(to) / from.min(to) > 100;
                prop_assert!(matches!(error, Problem::Ratio { .. }) && far, "{error}");
            }
        }
    }
}
