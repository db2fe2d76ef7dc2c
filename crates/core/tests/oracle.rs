//! The sampler against Transformers' own processors and warpers: the same tokens kept, logits within 1e-5.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::PathBuf;

use jielong_core::{Sampler, SamplerConfig, Token};
use safetensors::{Dtype, SafeTensors};

fn oracle(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle");
    fs::read(folder.join(name)).expect(name)
}

fn floats(file: &SafeTensors, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).expect(name);
    assert_eq!(tensor.dtype(), Dtype::F32);
    let bytes = tensor.data().chunks_exact(4);
    bytes.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

fn history(file: &SafeTensors) -> Vec<Token> {
    let tensor = file.tensor("history").unwrap();
    assert_eq!(tensor.dtype(), Dtype::I64);
    let bytes = tensor.data().chunks_exact(8);
    bytes.map(|bytes| Token(i64::from_le_bytes(bytes.try_into().unwrap()) as u32)).collect()
}

fn config(case: &str) -> SamplerConfig {
    let base = SamplerConfig::default();
    match case {
        "temperature_0.7" => SamplerConfig { temperature: 0.7, ..base },
        "top_k_8" => SamplerConfig { top_k: Some(8), ..base },
        "top_p_0.9" => SamplerConfig { top_p: Some(0.9), ..base },
        "min_p_0.1" => SamplerConfig { min_p: Some(0.1), ..base },
        "typical_p_0.6" => SamplerConfig { typical_p: Some(0.6), ..base },
        "epsilon_0.02" => SamplerConfig { epsilon_cutoff: Some(0.02), ..base },
        "eta_0.02" => SamplerConfig { eta_cutoff: Some(0.02), ..base },
        "top_h_0.4" => SamplerConfig { top_h: Some(0.4), ..base },
        "repetition_penalty_1.3" => SamplerConfig { repetition_penalty: Some(1.3), ..base },
        "no_repeat_ngram_3" => SamplerConfig { no_repeat_ngram: Some(3), ..base },
        "bad_words_[9]_[31,40]" => {
            let bad_words = vec![vec![Token(9)], vec![Token(31), Token(40)]];
            SamplerConfig { bad_words, ..base }
        }
        "sequence_bias_{(9):5,(31,40):-4}" => {
            let sequence_bias = vec![(vec![Token(9)], 5.0), (vec![Token(31), Token(40)], -4.0)];
            SamplerConfig { sequence_bias, ..base }
        }
        "min_new_tokens_eos_2" => SamplerConfig { min_new_tokens: 16, ..base },
        "suppress_[1,2]" => SamplerConfig { suppress: vec![Token(1), Token(2)], ..base },
        "chain_rep1.1_temp0.8_k20_p0.95_minp0.05" => SamplerConfig {
            repetition_penalty: Some(1.1),
            temperature: 0.8,
            top_k: Some(20),
            top_p: Some(0.95),
            min_p: Some(0.05),
            ..base
        },
        "chain_temp1.5_p0.8" => SamplerConfig { temperature: 1.5, top_p: Some(0.8), ..base },
        other => panic!("the oracle has a case that this test does not know: {other}"),
    }
}

#[test]
fn every_step_is_that_of_transformers() {
    let bytes = oracle("samplers.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let logits = floats(&file, "logits");
    let history = history(&file);
    let index: serde_json::Value = serde_json::from_slice(&oracle("samplers.json")).unwrap();
    let cases = index["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 16);
    for (case, facts) in cases {
        let sampler = Sampler::new(config(case), logits.len()).unwrap();
        let mut row = logits.clone();
        // The oracle's own words: a prompt of 4, end token 2.
        sampler.process(&mut row, 4, &history, &[Token(2)]).unwrap();
        let expected = floats(&file, &format!("out.{case}"));
        let kept = row.iter().filter(|logit| logit.is_finite()).count();
        assert_eq!(kept as u64, facts["kept"], "{case}");
        for (id, (found, expected)) in row.iter().zip(&expected).enumerate() {
            let same = found == expected || (found - expected).abs() < 1e-5;
            assert!(same, "{case}, token {id}: {found}, Transformers has {expected}");
        }
    }
}
