//! What the sampler promises beyond the oracle: what is drawn was kept, a seed is a seed, and bad input is an error.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use jielong_core::{SampleError, Sampler, SamplerConfig, Stage, Token};
use proptest::prelude::*;

const INF: f32 = f32::INFINITY;

fn tokens(ids: &[u32]) -> Vec<Token> {
    ids.iter().copied().map(Token).collect()
}

fn processed(config: SamplerConfig, row: &[f32], prompt_len: usize, history: &[u32]) -> Vec<f32> {
    let mut row = row.to_vec();
    let sampler = Sampler::new(config, row.len()).unwrap();
    sampler.process(&mut row, prompt_len, &tokens(history), &[]).unwrap();
    row
}

fn kept(config: SamplerConfig, row: &[f32]) -> Vec<usize> {
    let row = processed(config, row, 0, &[]);
    (0..row.len()).filter(|id| row[*id] > -INF).collect()
}

fn any_config() -> impl Strategy<Value = SamplerConfig> {
    let share = || prop::option::of(0.01f32..1.0);
    let filters = (prop::option::of(1usize..40), share(), share(), share(), share(), share(), share());
    let penalties = (
        prop::option::of(0.5f32..2.0),
        prop::option::of(-2.0f32..2.0),
        prop::option::of(-2.0f32..2.0),
        prop::option::of(2usize..4),
    );
    let temperature = prop_oneof![Just(0.0f32), Just(1.0), 0.01f32..4.0];
    (temperature, filters, penalties, any::<u64>()).prop_map(|(temperature, filters, penalties, seed)| {
        let (top_k, top_p, min_p, typical_p, top_h, epsilon_cutoff, eta_cutoff) = filters;
        let (repetition_penalty, presence_penalty, frequency_penalty, no_repeat_ngram) = penalties;
        SamplerConfig {
            temperature,
            top_k,
            top_p,
            min_p,
            typical_p,
            top_h,
            epsilon_cutoff,
            eta_cutoff,
            repetition_penalty,
            presence_penalty,
            frequency_penalty,
            no_repeat_ngram,
            seed: Some(seed),
            ..SamplerConfig::default()
        }
    })
}

fn any_row() -> impl Strategy<Value = Vec<f32>> {
    // Few distinct values, so that there are ties; the first keeps the row possible.
    let logit = prop_oneof![4 => (-40i32..40).prop_map(|x| x as f32 / 4.0), 1 => Just(-INF)];
    prop::collection::vec(logit, 1..300).prop_map(|mut row| {
        row[0] = 1.0;
        row
    })
}

proptest! {
    #[test]
    fn what_is_drawn_was_kept_and_a_seed_is_a_seed(
        config in any_config(),
        row in any_row(),
        history in prop::collection::vec(0u32..300, 0..30),
    ) {
        let history = tokens(&history);
        let prompt_len = history.len() / 2;
        let mut first = Sampler::new(config.clone(), row.len()).unwrap();
        let mut second = Sampler::new(config, row.len()).unwrap();
        let mut left = row.clone();
        match first.process(&mut left, prompt_len, &history, &[]) {
            Ok(()) => prop_assert!(left.iter().any(|logit| *logit > -INF)),
            Err(error) => {
                prop_assert_eq!(first.sample(&mut row.clone(), prompt_len, &history, &[]), Err(error));
                return Ok(());
            }
        }
        for _ in 0..20 {
            let drawn = first.sample(&mut row.clone(), prompt_len, &history, &[]).unwrap();
            prop_assert!(left[drawn.index()] > -INF);
            prop_assert_eq!(second.sample(&mut row.clone(), prompt_len, &history, &[]), Ok(drawn));
        }
    }

    #[test]
    fn top_p_keeps_the_least_that_suffices(row in any_row(), mass in 0.05f32..0.99) {
        let kept = kept(SamplerConfig { top_p: Some(mass), ..SamplerConfig::default() }, &row);
        let total: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
        let sum: f64 = kept.iter().map(|id| f64::from(row[*id]).exp() / total).sum();
        let least = kept.iter().map(|id| row[*id]).fold(INF, f32::min);
        prop_assert!(sum >= f64::from(mass) - 1e-9);
        prop_assert!(sum - f64::from(least).exp() / total < f64::from(mass) + 1e-9);
        prop_assert!((0..row.len()).all(|id| kept.contains(&id) || row[id] <= least));
    }
}

#[test]
fn a_seed_draws_these_tokens_in_every_version() {
    let row: Vec<f32> = (0..50).map(|id| (id % 7) as f32 / 3.0).collect();
    let config = SamplerConfig { seed: Some(7), ..SamplerConfig::default() };
    let mut sampler = Sampler::new(config, row.len()).unwrap();
    let drawn: Vec<u32> = (0..8).map(|_| sampler.sample(&mut row.clone(), 0, &[], &[]).unwrap().0).collect();
    assert_eq!(drawn, [12, 29, 27, 43, 18, 47, 5, 4]);
    assert_eq!(sampler.seed(), 7);
}

#[test]
fn a_made_up_seed_can_be_asked_for() {
    let row: Vec<f32> = (0..1000).map(|id| (id % 10) as f32).collect();
    let mut first = Sampler::new(SamplerConfig::default(), row.len()).unwrap();
    let config = SamplerConfig { seed: Some(first.seed()), ..SamplerConfig::default() };
    let mut second = Sampler::new(config, row.len()).unwrap();
    let draw = |sampler: &mut Sampler| sampler.sample(&mut row.clone(), 0, &[], &[]).unwrap();
    for _ in 0..20 {
        assert_eq!(draw(&mut first), draw(&mut second));
    }
}

#[test]
fn greedy_obeys_processors_and_ignores_warpers() {
    let config = SamplerConfig {
        temperature: 0.0,
        top_k: Some(1),
        top_p: Some(0.1),
        suppress: tokens(&[2]),
        ..SamplerConfig::default()
    };
    let row = [0.0, 3.0, 9.0, 3.0];
    assert_eq!(processed(config.clone(), &row, 0, &[]), [0.0, 3.0, -INF, 3.0]);
    let mut sampler = Sampler::new(config, 4).unwrap();
    assert_eq!(sampler.sample(&mut row.clone(), 0, &[], &[]), Ok(Token(1)), "ties go to the lower id");
}

#[test]
fn presence_and_frequency_count_the_answer_alone() {
    let config =
        SamplerConfig { presence_penalty: Some(0.5), frequency_penalty: Some(0.25), ..SamplerConfig::default() };
    let row = processed(config, &[1.0; 4], 3, &[0, 0, 1, 2, 1, 2, 2]);
    assert_eq!(row, [1.0, 1.0 - 0.5 - 0.25, 1.0 - 0.5 - 0.75, 1.0]);
}

#[test]
fn penalties_and_biases_keep_the_documented_order() {
    // Bias, then repetition, then presence: (1 + 1) / 2 - 0.25.
    let config = SamplerConfig {
        sequence_bias: vec![(tokens(&[0]), 1.0)],
        repetition_penalty: Some(2.0),
        presence_penalty: Some(0.25),
        ..SamplerConfig::default()
    };
    assert_eq!(processed(config, &[1.0, -1.0, 0.0], 0, &[0]), [0.75, -1.0, 0.0]);
}

#[test]
fn equal_tokens() {
    let base = SamplerConfig::default;
    let flat = [2.0; 8];
    assert_eq!(kept(SamplerConfig { top_k: Some(3), ..base() }, &flat).len(), 8);
    assert_eq!(kept(SamplerConfig { top_p: Some(0.5), ..base() }, &flat), [0, 1, 2, 3]);
    assert_eq!(kept(SamplerConfig { typical_p: Some(0.5), ..base() }, &flat).len(), 8);
    assert_eq!(kept(SamplerConfig { min_p: Some(1.0), ..base() }, &flat).len(), 8);
    assert_eq!(kept(SamplerConfig { epsilon_cutoff: Some(0.9), ..base() }, &flat).len(), 8);
    assert_eq!(kept(SamplerConfig { top_h: Some(0.01), ..base() }, &flat), [0]);
}

#[test]
fn bans() {
    let base = SamplerConfig::default;
    let end = [Token(3)];
    let banned = |config: SamplerConfig, history: &[u32]| {
        let mut row = vec![0.0; 5];
        let sampler = Sampler::new(config, 5).unwrap();
        sampler.process(&mut row, 1, &tokens(history), &end).unwrap();
        (0..5).filter(|id| row[*id] == -INF).collect::<Vec<usize>>()
    };
    let ngram = |size| SamplerConfig { no_repeat_ngram: Some(size), ..base() };
    assert_eq!(banned(ngram(1), &[0, 2]), [0, 2]);
    assert_eq!(banned(ngram(2), &[1, 2, 1, 4, 1]), [2, 4]);
    assert_eq!(banned(ngram(usize::MAX), &[1, 1]), []);
    let minimum = SamplerConfig { min_new_tokens: 2, ..base() };
    assert_eq!(banned(minimum.clone(), &[0, 1]), [3]);
    assert_eq!(banned(minimum, &[0, 1, 1]), []);
    let words = SamplerConfig { bad_words: vec![tokens(&[3]), tokens(&[1, 3]), tokens(&[1, 1, 2])], ..base() };
    assert_eq!(banned(words.clone(), &[1]), [3], "the end token alone is no bad word");
    assert_eq!(banned(words, &[0, 1, 1]), [2, 3]);
    let bias = SamplerConfig { sequence_bias: vec![(tokens(&[4]), -INF)], ..base() };
    assert_eq!(banned(bias, &[]), [4]);
}

#[test]
fn rows_that_are_no_distribution() {
    let base = SamplerConfig::default;
    let fails = |config: SamplerConfig, mut row: Vec<f32>| {
        let mut sampler = Sampler::new(config, 3).unwrap();
        let error = sampler.sample(&mut row.clone(), 0, &[], &[]).unwrap_err();
        assert_eq!(sampler.process(&mut row, 0, &[], &[]).unwrap_err().to_string(), error.to_string());
        error
    };
    for temperature in [0.0, 1.0] {
        let base = || SamplerConfig { temperature, ..base() };
        let before = Stage::Before;
        for bad in [f32::NAN, INF] {
            // Even where the token could not have been chosen.
            let config = SamplerConfig { suppress: tokens(&[1]), top_k: Some(1), ..base() };
            let error = fails(config, vec![5.0, bad, 0.0]);
            let expected = SampleError::NotFinite { token: Token(1), found: bad, stage: before };
            assert_eq!(error.to_string(), expected.to_string());
        }
        let error = fails(base(), vec![-INF; 3]);
        assert_eq!(error, SampleError::NoneLeft { vocab: 3, stage: before });
        let config = SamplerConfig { suppress: tokens(&[0, 1]), ..base() };
        let error = fails(config, vec![0.0, 0.0, -INF]);
        assert_eq!(error, SampleError::NoneLeft { vocab: 3, stage: Stage::After });
        let config = SamplerConfig { sequence_bias: vec![(tokens(&[1]), f32::MAX)], ..base() };
        let error = fails(config, vec![0.0, f32::MAX, 0.0]);
        assert!(matches!(error, SampleError::NotFinite { token: Token(1), stage: Stage::After, .. }));
        let error = fails(base(), vec![0.0; 4]);
        assert_eq!(error, SampleError::RowLength { found: 4, expected: 3 });
        let mut sampler = Sampler::new(base(), 3).unwrap();
        assert_eq!(sampler.sample(&mut [-INF, -1e30, -INF], 0, &[], &[]), Ok(Token(1)));
    }
}

#[test]
fn extreme_temperatures() {
    for (temperature, row) in [(1e-40, [3.0, 4.0, -2.0]), (1e-30, [-3e30, -2e30, -4e30])] {
        let config = SamplerConfig { temperature, seed: Some(1), ..SamplerConfig::default() };
        let mut sampler = Sampler::new(config, 3).unwrap();
        assert!((0..20).all(|_| sampler.sample(&mut row.clone(), 0, &[], &[]) == Ok(Token(1))));
    }
    let config = SamplerConfig { temperature: f32::MAX, ..SamplerConfig::default() };
    assert_eq!(kept(config, &[f32::MAX, -f32::MAX, 0.0]).len(), 3);
}

#[test]
fn a_million_candidates() {
    let row: Vec<f32> = (0..1_000_000u32).map(|id| (id.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6).collect();
    for config in [
        SamplerConfig { top_k: Some(usize::MAX), top_p: Some(0.999), ..SamplerConfig::default() },
        SamplerConfig { top_k: Some(50), typical_p: Some(0.9), ..SamplerConfig::default() },
        SamplerConfig { typical_p: Some(0.9), eta_cutoff: Some(0.001), ..SamplerConfig::default() },
    ] {
        let kept = kept(config, &row);
        assert!(!kept.is_empty() && kept.len() < row.len());
    }
}
