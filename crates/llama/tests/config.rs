//! What a `config.json` may not say, and checkpoints that do not fit theirs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use jielong_llama::{Compute, Config, Llama, LoadOptions};
use serde_json::{Value, json};

fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle").join(name)
}

fn config(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(tiny(name).join("config.json")).unwrap()).unwrap()
}

/// The message on a Llama config with some keys changed.
fn refusal(changes: Value) -> String {
    let mut config = config("tiny-llama3-tied");
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    Config::from_hf(config.to_string().as_bytes()).expect_err(&changes.to_string()).to_string()
}

#[test]
fn what_is_not_supported_is_refused_by_name_and_value() {
    for (changes, says) in [
        (json!({"model_type": "mamba"}), ["model_type", "mamba"]),
        (json!({"model_type": null}), ["model_type", "missing"]),
        (json!({"hidden_act": "relu"}), ["hidden_act", "relu"]),
        (json!({"rope_scaling": {"rope_type": "mrope"}}), ["rope_type", "mrope"]),
        (json!({"quantization_config": {"quant_method": "awq"}}), ["quantization_config", "awq"]),
        (json!({"num_key_value_heads": 3}), ["num_key_value_heads", "3"]),
        (json!({"hidden_size": 30, "head_dim": null}), ["hidden_size", "30"]),
        (json!({"num_hidden_layers": 0}), ["num_hidden_layers", "0"]),
        (json!({"num_hidden_layers": 1_000_000_000}), ["num_hidden_layers", "1000000000"]),
        (json!({"num_attention_heads": 0}), ["num_attention_heads", "0"]),
        (json!({"vocab_size": 0}), ["vocab_size", "0"]),
        (json!({"vocab_size": -1}), ["vocab_size", "-1"]),
        (json!({"vocab_size": "many"}), ["vocab_size", "many"]),
        (json!({"rope_theta": 0}), ["rope_theta", "0"]),
        (json!({"rope_theta": "NaN"}), ["rope_theta", "NaN"]),
        (json!({"rms_norm_eps": -1.0}), ["rms_norm_eps", "-1"]),
        (json!({"eos_token_id": 5000}), ["eos_token_id", "5000"]),
        (json!({"partial_rotary_factor": 0}), ["partial_rotary_factor", "0"]),
        (
            json!({"rope_scaling": {"rope_type": "llama3", "factor": 0.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}}),
            ["rope_scaling.factor", "0"],
        ),
        (
            json!({"rope_scaling": {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}}),
            ["rope_scaling.factor", "missing"],
        ),
        (
            json!({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}),
            ["short_factor", "1 values"],
        ),
    ] {
        let message = refusal(changes.clone());
        assert!(says.iter().all(|part| message.contains(part)), "{changes}: {message}");
    }
    let mut windows = config("tiny-gemma3-v5");
    windows["layer_types"] = json!(["sliding_attention", "chunked_attention"]);
    assert!(Config::from_hf(windows.to_string().as_bytes()).unwrap_err().to_string().contains("chunked_attention"));
    windows["layer_types"] = json!(["sliding_attention"]);
    assert!(Config::from_hf(windows.to_string().as_bytes()).unwrap_err().to_string().contains("layer_types"));
    for broken in [&b""[..], b"[]", b"{", "[".repeat(100_000).as_bytes(), "{\"a\":".repeat(100_000).as_bytes()] {
        assert!(Config::from_hf(broken).is_err());
    }
}

#[test]
fn code_in_a_checkpoint_is_never_looked_at() {
    let mut with_code = config("tiny-phi3");
    with_code["auto_map"] = json!({"AutoModelForCausalLM": "modeling_evil.Evil"});
    assert_eq!(
        Config::from_hf(with_code.to_string().as_bytes()),
        Config::from_hf(config("tiny-phi3").to_string().as_bytes())
    );
}

#[test]
fn both_published_forms_of_a_config_are_the_same_model() {
    let mut old = config("tiny-llama3-tied");
    let mut rope = old["rope_scaling"].take();
    rope["rope_theta"] = old["rope_theta"].take();
    let mut new = old.clone();
    new["rope_parameters"] = rope;
    assert_eq!(
        Config::from_hf(new.to_string().as_bytes()).unwrap(),
        Config::from_hf(config("tiny-llama3-tied").to_string().as_bytes()).unwrap()
    );
}

fn load(folder: &Path) -> Result<Llama, String> {
    let options = LoadOptions { compute: Compute::kernels(), context: None };
    Llama::from_folder(folder, &options).map_err(|e| e.to_string())
}

#[test]
fn everything_that_does_not_fit_the_config_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(tiny("tiny-llama3-tied").join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let mut wrong = config("tiny-llama3-tied");
    wrong["num_hidden_layers"] = json!(3);
    wrong["vocab_size"] = json!(97);
    wrong["intermediate_size"] = json!(40);
    wrong["tie_word_embeddings"] = json!(false);
    std::fs::write(folder.path().join("config.json"), wrong.to_string()).unwrap();
    let message = load(folder.path()).unwrap_err();
    for part in [
        "`model.embed_tokens.weight` is [96, 32], expected [97, 32]",
        "`model.layers.0.mlp.gate_proj.weight` is [48, 32], expected [40, 32]",
        "`model.layers.2.self_attn.q_proj.weight` [32, 32] is missing",
        "`lm_head.weight` [97, 32] is missing",
    ] {
        assert!(message.contains(part), "{part} not in {message}");
    }
    wrong = config("tiny-llama3-tied");
    wrong["num_hidden_layers"] = json!(1);
    std::fs::write(folder.path().join("config.json"), wrong.to_string()).unwrap();
    assert!(load(folder.path()).unwrap_err().contains("`model.layers.1.mlp.down_proj.weight` is not part of"));
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    assert!(load(folder.path()).unwrap_err().contains("config.json"));
}

#[test]
fn a_context_beyond_the_models_is_refused() {
    let options = LoadOptions { compute: Compute::kernels(), context: Some(65) };
    let message = Llama::from_folder(&tiny("tiny-llama3-tied"), &options).unwrap_err().to_string();
    assert!(message.contains("65") && message.contains("64"), "{message}");
}
