//! A [`Config`] as GGUF metadata and as a `config.json`: the inverses of [`Config::from_gguf`] and [`Config::from_hf`].

use jielong_kernels::Dtype;
use serde_json::{Map, Value, json};

use super::{ExportError, Types};
use crate::config::{Activation, Config, NormGain};
use crate::gguf::Gguf;
use crate::gguf::writer::Pair;
use crate::rope::{RopeConfig, RopeScaling};

/// The `general.architecture` of a family.
fn architecture(config: &Config) -> Result<&'static str, ExportError> {
    match config.family.as_str() {
        "llama" | "mistral" => Ok("llama"),
        "qwen2" => Ok("qwen2"),
        "qwen3" => Ok("qwen3"),
        "gemma3" | "gemma3_text" => Ok("gemma3"),
        family => Err(ExportError::Family { family: family.into() }),
    }
}

/// `general.…` and `<architecture>.…` of a GGUF file.
///
/// # Errors
/// [`ExportError::Family`].
pub fn gguf_pairs(config: &Config, types: Types) -> Result<Vec<Pair>, ExportError> {
    let family = architecture(config)?;
    let key = |name: &str| format!("{family}.{name}");
    let size = |name: &str, n: usize| Pair::u32(key(name), u32::try_from(n).unwrap_or(u32::MAX));
    let mut pairs = vec![
        Pair::string("general.architecture", family),
        Pair::string("general.type", "model"),
        size("vocab_size", config.vocab_size),
        size("context_length", config.context),
        size("embedding_length", config.hidden_size),
        size("block_count", config.depth()),
        size("feed_forward_length", config.intermediate_size),
        size("attention.head_count", config.heads),
        size("attention.head_count_kv", config.kv_heads),
        size("attention.key_length", config.head_dim),
        size("attention.value_length", config.head_dim),
        Pair::f32(key("attention.layer_norm_rms_epsilon"), config.norm_eps),
    ];
    if let Some(rope) = config.ropes.first() {
        pairs.push(size("rope.dimension_count", rope.dim));
        pairs.push(Pair::f32(key("rope.freq_base"), rope.theta));
        match &rope.scaling {
            RopeScaling::Linear { factor } => {
                pairs.push(Pair::string(key("rope.scaling.type"), "linear"));
                pairs.push(Pair::f32(key("rope.scaling.factor"), *factor));
            }
            RopeScaling::Yarn { factor, beta_fast, beta_slow, original, .. } => {
                pairs.push(Pair::string(key("rope.scaling.type"), "yarn"));
                pairs.push(Pair::f32(key("rope.scaling.factor"), *factor));
                pairs.push(size("rope.scaling.original_context_length", *original));
                pairs.push(Pair::f32(key("rope.scaling.yarn_beta_fast"), *beta_fast));
                pairs.push(Pair::f32(key("rope.scaling.yarn_beta_slow"), *beta_slow));
            }
            _ => {}
        }
    }
    if let Some(window) = config.layers.iter().find_map(|layer| layer.window) {
        pairs.push(size("attention.sliding_window", window));
    }
    if let Some(local) = config.ropes.get(1) {
        pairs.push(Pair::f32(key("rope.freq_base_swa"), local.theta));
    }
    if let Some(cap) = config.logit_softcap {
        pairs.push(Pair::f32(key("final_logit_softcapping"), cap));
    }
    pairs.extend(file_type(types));
    Ok(pairs)
}

/// The metadata of a GGUF file for another one, in whole and with other types.
pub fn repacked_pairs(gguf: &Gguf, types: Option<Types>) -> Vec<Pair> {
    let packed = types.map(file_type);
    let replaced = |key: &str| packed.iter().flatten().any(|pair| pair.key() == key);
    let dropped = |key: &str| key.starts_with("split.") || key == "general.alignment" || replaced(key);
    gguf.pairs().filter(|pair| !dropped(pair.key())).chain(packed.iter().flatten().cloned()).collect()
}

/// What says how a file is packed.
fn file_type(types: Types) -> [Pair; 2] {
    [Pair::u32("general.file_type", types.file_type()), Pair::u32("general.quantization_version", 2)]
}

/// A `config.json`.
///
/// # Errors
/// [`ExportError::Divisors`]: frequencies that it cannot say.
pub fn hf_config(config: &Config, dtype: &str) -> Result<Map<String, Value>, ExportError> {
    let (class, family) = match config.family.as_str() {
        "qwen2" => ("Qwen2ForCausalLM", "qwen2"),
        "qwen3" => ("Qwen3ForCausalLM", "qwen3"),
        "gemma3" => ("Gemma3ForCausalLM", "gemma3_text"),
        _ => ("LlamaForCausalLM", "llama"),
    };
    let eos = match config.eos.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    };
    let activation = match config.activation {
        Activation::Silu => "silu",
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
    };
    let gemma = family == "gemma3_text";
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.into(), value);
    put("architectures", json!([class]));
    put("model_type", json!(family));
    put("vocab_size", json!(config.vocab_size));
    put("hidden_size", json!(config.hidden_size));
    put("intermediate_size", json!(config.intermediate_size));
    put("num_hidden_layers", json!(config.depth()));
    put("num_attention_heads", json!(config.heads));
    put("num_key_value_heads", json!(config.kv_heads));
    put("head_dim", json!(config.head_dim));
    put("max_position_embeddings", json!(config.context));
    put("rms_norm_eps", short(config.norm_eps));
    put(if gemma { "hidden_activation" } else { "hidden_act" }, json!(activation));
    put("attention_bias", json!(config.bias.qkv));
    put("mlp_bias", json!(config.bias.mlp));
    put("tie_word_embeddings", json!(config.tied));
    put("bos_token_id", json!(config.bos));
    put("eos_token_id", eos);
    put("torch_dtype", json!(dtype));
    if let Some(rope) = config.ropes.first() {
        put("rope_theta", short(rope.theta));
        put("rope_scaling", scaling(rope)?);
    }
    if gemma {
        let types = config.layers.iter().map(|layer| match layer.window {
            Some(_) => "sliding_attention",
            None => "full_attention",
        });
        put("layer_types", json!(types.collect::<Vec<_>>()));
        put("sliding_window", json!(config.layers.iter().find_map(|layer| layer.window)));
        put("query_pre_attn_scalar", short(config.attention_scale.powi(-2)));
        put("rope_local_base_freq", config.ropes.get(1).map_or(Value::Null, |rope| short(rope.theta)));
        put("attn_logit_softcapping", json!(config.attention_softcap));
        put("final_logit_softcapping", json!(config.logit_softcap));
    }
    Ok(map)
}

/// What a `config.json` calls a type of weights.
pub fn torch_dtype(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F16 => "float16",
        Dtype::BF16 => "bfloat16",
        _ => "float32",
    }
}

/// A number that was a single, in as few digits as that has: 1e-6, not 9.999999974752427e-7.
fn short(x: f64) -> Value {
    (x as f32).to_string().parse::<f64>().map_or(json!(x), |x| json!(x))
}

/// `rope_scaling`.
fn scaling(rope: &RopeConfig) -> Result<Value, ExportError> {
    Ok(match &rope.scaling {
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Yarn { factor, beta_fast, beta_slow, original, attention_factor, truncate } => json!({
            "rope_type": "yarn",
            "factor": factor,
            "beta_fast": beta_fast,
            "beta_slow": beta_slow,
            "original_max_position_embeddings": original,
            "attention_factor": attention_factor,
            "truncate": truncate,
        }),
        RopeScaling::Divisors(_) => {
            // Llama 3's, all of which were made with these bounds; the factor is that of the lowest frequency.
            let (low_freq_factor, high_freq_factor) = (1.0, 4.0);
            let divisors = rope.divisors();
            let factor = f64::from(divisors.last().copied().unwrap_or(1.0));
            let scaled = |original| RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original };
            let gives = |&original: &usize| {
                close(&RopeConfig { scaling: scaled(original), ..rope.clone() }.divisors(), &divisors)
            };
            let original = (0..24).map(|power| 1 << power).find(gives).ok_or(ExportError::Divisors)?;
            json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original,
            })
        }
        _ => Value::Null,
    })
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * a.abs().max(b.abs()))
}

/// Keys in which two configs differ that are to be of the same model, with both values: how it is stored, numbers beyond the
/// precision of a single, and which tokens begin and end a text are left aside.
pub fn differences(meant: &Config, read: &Config) -> Vec<String> {
    let plain = |config: &Config| Config {
        family: String::new(),
        norm_gain: NormGain::Weight,
        ropes: Vec::new(),
        bos: None,
        eos: Vec::new(),
        norm_eps: f64::from(config.norm_eps as f32),
        attention_scale: f64::from(config.attention_scale as f32),
        logit_softcap: config.logit_softcap.map(|cap| f64::from(cap as f32)),
        ..config.clone()
    };
    let as_json = |config: &Config| serde_json::to_value(plain(config)).unwrap_or_default();
    let (meant_json, read_json) = (as_json(meant), as_json(read));
    let mut found = Vec::new();
    for (key, value) in meant_json.as_object().into_iter().flatten() {
        if read_json[key] != *value {
            found.push(format!("`{key}`: {value}, became {}", read_json[key]));
        }
    }
    let alike = |a: &RopeConfig, b: &RopeConfig| {
        let context = meant.default_context();
        close(&a.frequencies(context), &b.frequencies(context)) && a.attention_factor() == b.attention_factor()
    };
    if meant.ropes.len() != read.ropes.len() || !meant.ropes.iter().zip(&read.ropes).all(|(a, b)| alike(a, b)) {
        found.push("the frequencies of the rotation".into());
    }
    found
}
