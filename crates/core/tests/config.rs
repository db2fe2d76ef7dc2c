//! Settings that make no sense are refused by name, with what was found and what may be.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use jielong_core::{Sampler, SamplerConfig, SamplerError, Token};

fn refused(config: SamplerConfig) -> SamplerError {
    Sampler::new(config, 10).unwrap_err()
}

#[test]
fn numbers_out_of_range() {
    let base = SamplerConfig::default;
    let nan = f32::NAN;
    let bad = [
        ("temperature", "-1", SamplerConfig { temperature: -1.0, ..base() }),
        ("temperature", "NaN", SamplerConfig { temperature: nan, ..base() }),
        ("temperature", "inf", SamplerConfig { temperature: f32::INFINITY, ..base() }),
        ("top_k", "0", SamplerConfig { top_k: Some(0), ..base() }),
        ("top_p", "0", SamplerConfig { top_p: Some(0.0), ..base() }),
        ("top_p", "2", SamplerConfig { top_p: Some(2.0), ..base() }),
        ("top_p", "NaN", SamplerConfig { top_p: Some(nan), ..base() }),
        ("min_p", "-0.1", SamplerConfig { min_p: Some(-0.1), ..base() }),
        ("min_p", "NaN", SamplerConfig { min_p: Some(nan), ..base() }),
        ("typical_p", "0", SamplerConfig { typical_p: Some(0.0), ..base() }),
        ("top_h", "1.5", SamplerConfig { top_h: Some(1.5), ..base() }),
        ("epsilon_cutoff", "1", SamplerConfig { epsilon_cutoff: Some(1.0), ..base() }),
        ("eta_cutoff", "-1", SamplerConfig { eta_cutoff: Some(-1.0), ..base() }),
        ("repetition_penalty", "0", SamplerConfig { repetition_penalty: Some(0.0), ..base() }),
        ("repetition_penalty", "inf", SamplerConfig { repetition_penalty: Some(f32::INFINITY), ..base() }),
        ("presence_penalty", "NaN", SamplerConfig { presence_penalty: Some(nan), ..base() }),
        ("frequency_penalty", "-inf", SamplerConfig { frequency_penalty: Some(-f32::INFINITY), ..base() }),
        ("no_repeat_ngram", "0", SamplerConfig { no_repeat_ngram: Some(0), ..base() }),
    ];
    for (field, found, config) in bad {
        let error = refused(config);
        assert_eq!((error.field.as_str(), error.found.as_str()), (field, found));
        assert_eq!(error.to_string(), format!("sampler: {field} is {found}, expected {}", error.expected));
    }
    assert_eq!(Sampler::new(base(), 0).unwrap_err().field, "vocab_size");
}

#[test]
fn ids_and_sequences() {
    let base = SamplerConfig::default;
    let bias = |sequence: &[u32], bias| (sequence.iter().copied().map(Token).collect(), bias);
    let biased = |sequence_bias| refused(SamplerConfig { sequence_bias, ..base() }).to_string();
    assert_eq!(
        biased(vec![bias(&[1], 0.5), bias(&[2, 10], 1.0)]),
        "sampler: sequence_bias[1] is token 10, expected ids from 0 to 9"
    );
    assert_eq!(
        biased(vec![bias(&[1], f32::NAN)]),
        "sampler: sequence_bias[0] is NaN, expected a finite number or -inf"
    );
    assert_eq!(
        biased(vec![bias(&[1, 2], 1.0), bias(&[3], 1.0), bias(&[1, 2], 2.0)]),
        "sampler: sequence_bias is [1, 2] more than once, expected each sequence once"
    );
    assert_eq!(
        refused(SamplerConfig { bad_words: vec![vec![]], ..base() }).to_string(),
        "sampler: bad_words[0] is an empty sequence, expected at least one token"
    );
    assert_eq!(
        refused(SamplerConfig { suppress: vec![Token(9), Token(u32::MAX)], ..base() }).to_string(),
        "sampler: suppress is token 4294967295, expected ids from 0 to 9"
    );
}

#[test]
fn as_json() {
    let config = SamplerConfig {
        temperature: 0.5,
        top_k: Some(40),
        bad_words: vec![vec![Token(1), Token(2)]],
        sequence_bias: vec![(vec![Token(3)], -1.5)],
        seed: Some(u64::MAX),
        ..SamplerConfig::default()
    };
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<SamplerConfig>(&text).unwrap(), config);
    let part = r#"{"temperature": 0.5, "top_k": 40, "bad_words": [[1, 2]], "sequence_bias": [[[3], -1.5]], "seed": 18446744073709551615}"#;
    assert_eq!(serde_json::from_str::<SamplerConfig>(part).unwrap(), config);
    assert_eq!(serde_json::from_str::<SamplerConfig>("{}").unwrap(), SamplerConfig::default());
    let error = serde_json::from_str::<SamplerConfig>(r#"{"temprature": 1}"#).unwrap_err();
    assert!(error.to_string().contains("temprature"), "{error}");
}
