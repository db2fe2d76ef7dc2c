//! `config.json` of a Hugging Face folder → [`Config`].
//!
//! Both published forms are read: `rope_theta` / `rope_scaling` (Transformers 4) and `rope_parameters` (Transformers 5).
//! Keys that change nothing here (dropout, cache switches, initialisation) are ignored; a *value* that would change the
//! arithmetic and that this transformer does not compute is refused by name. `auto_map` names Python files; they are
//! never looked at: the family is what `model_type` says.

use serde_json::{Map, Value};

use crate::config::{
    Activation, Bias, Config, ConfigError, Experts, Layer, NormGain, NormPlacement, QkNorm, unsupported,
};
use crate::hf_rope::{scaling, thetas};
use crate::rope::RopeConfig;

/// Families that are configs of this transformer, by `model_type`.
pub const FAMILIES: [&str; 12] = [
    "llama",
    "mistral",
    "smollm3",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "gemma2",
    "gemma3_text",
    "gemma3",
    "phi3",
    "olmo2",
    "granite",
];

/// An object of `config.json` with getters whose errors name the key.
pub(crate) struct Keys<'a>(pub(crate) &'a Map<String, Value>);

impl Keys<'_> {
    /// The value, unless it is absent or null.
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let wrong = || ConfigError::Type { key: key.into(), found: shown(value), expected };
        read(value).map(Some).ok_or_else(wrong)
    }

    pub(crate) fn size(&self, key: &str) -> Result<Option<usize>, ConfigError> {
        self.typed(key, "a whole number ≥ 0", |v| v.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub(crate) fn switch(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        self.typed(key, "a string", |v| v.as_str().map(str::to_owned))
    }

    pub(crate) fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, ConfigError> {
        self.typed(key, "a list of numbers", |v| v.as_array()?.iter().map(Value::as_f64).collect())
    }

    fn sizes(&self, key: &str) -> Result<Option<Vec<usize>>, ConfigError> {
        let read = |v: &Value| v.as_array()?.iter().map(|n| usize::try_from(n.as_u64()?).ok()).collect();
        self.typed(key, "a list of whole numbers", read)
    }

    /// One id or a list of them.
    pub(crate) fn tokens(&self, key: &str) -> Result<Vec<u32>, ConfigError> {
        let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        let read = |v: &Value| match v {
            Value::Array(list) => list.iter().map(id).collect(),
            one => id(one).map(|n| vec![n]),
        };
        Ok(self.typed(key, "a token id or a list of them", read)?.unwrap_or_default())
    }

    pub(crate) fn required(&self, key: &str) -> Result<usize, ConfigError> {
        self.size(key)?.ok_or_else(|| ConfigError::Missing { key: key.into() })
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`]: what is missing, of a wrong type, unsupported or contradictory, by key and value.
    pub fn from_hf(json: &[u8]) -> Result<Self, ConfigError> {
        let value: Value = serde_json::from_slice(json).map_err(|e| ConfigError::Json(e.to_string()))?;
        let map = value.as_object().ok_or_else(|| ConfigError::Json("not an object".into()))?;
        let outer = Keys(map);
        let family = outer.text("model_type")?.ok_or_else(|| ConfigError::Missing { key: "model_type".into() })?;
        if !FAMILIES.contains(&family.as_str()) {
            return Err(unsupported("model_type", family, format!("; supported are {}", FAMILIES.join(", "))));
        }
        if let Some(method) = outer.value("quantization_config") {
            let method = method.get("quant_method").map_or_else(|| shown(method), shown);
            return Err(unsupported("quantization_config", method, "; use the unquantised checkpoint or a GGUF file"));
        }
        // The multimodal Gemma 3 wraps its text model.
        let inner = match outer.value("text_config").and_then(Value::as_object) {
            Some(text) if family == "gemma3" => text,
            _ => map,
        };
        let config = read(&Keys(inner), &outer, &family)?;
        config.check()?;
        Ok(config)
    }
}

fn read(keys: &Keys, outer: &Keys, family: &str) -> Result<Config, ConfigError> {
    let gemma = family.starts_with("gemma");
    // The text part of a multimodal Gemma 3 leaves out what equals the class's defaults.
    let or_gemma3 = |key: &str, default: usize| match keys.size(key)? {
        Some(n) => Ok(n),
        None if family == "gemma3" => Ok(default),
        None => keys.required(key),
    };
    let hidden_size = keys.required("hidden_size")?;
    let heads = or_gemma3("num_attention_heads", 8)?;
    if heads == 0 {
        return Err(unsupported("num_attention_heads", 0, "; it must be at least 1"));
    }
    let default_kv = if family == "gemma3" { 4 } else { heads };
    let kv_heads = keys.size("num_key_value_heads")?.unwrap_or(default_kv);
    let head_dim = match (keys.size("head_dim")?, family) {
        (Some(n), _) => n,
        (None, "gemma2" | "gemma3" | "gemma3_text") => 256,
        (None, "qwen3" | "qwen3_moe") if !hidden_size.is_multiple_of(heads) => 128,
        (None, _) if !hidden_size.is_multiple_of(heads) => {
            return Err(ConfigError::Contradiction(format!(
                "`hidden_size` = {hidden_size} is not a multiple of `num_attention_heads` = {heads}, \
                 and `head_dim` is not given"
            )));
        }
        (None, _) => hidden_size / heads,
    };
    let depth = keys.required("num_hidden_layers")?;
    if depth == 0 || depth > 1 << 16 {
        return Err(unsupported("num_hidden_layers", depth, "; it must be between 1 and 65536"));
    }
    let context = or_gemma3("max_position_embeddings", 131_072)?;
    let default_eps = if matches!(family, "phi3" | "olmo2") { 1e-5 } else { 1e-6 };
    let attention_bias = keys.switch("attention_bias")?.unwrap_or(false);
    let mlp_bias = keys.switch("mlp_bias")?.unwrap_or(false);
    let scalar = keys.number("query_pre_attn_scalar")?.unwrap_or(256.0);
    if keys.switch("use_bidirectional_attention")?.unwrap_or(false) {
        return Err(unsupported("use_bidirectional_attention", true, "; generation needs causal attention"));
    }
    let rotary = rotated(keys, head_dim)?;
    let mut eos = keys.tokens("eos_token_id")?;
    if eos.is_empty() {
        eos = outer.tokens("eos_token_id")?;
    }
    let or_outer = |key: &str| -> Result<Option<bool>, ConfigError> {
        Ok(match keys.switch(key)? {
            Some(on) => Some(on),
            None => outer.switch(key)?,
        })
    };
    Ok(Config {
        family: family.into(),
        vocab_size: or_gemma3("vocab_size", 262_208)?,
        hidden_size,
        intermediate_size: keys.required("intermediate_size")?,
        heads,
        kv_heads,
        head_dim,
        context,
        norm_eps: keys.number("rms_norm_eps")?.unwrap_or(default_eps),
        norm_gain: if gemma { NormGain::OnePlusWeight } else { NormGain::Weight },
        norms: match family {
            "olmo2" => NormPlacement::After,
            _ if gemma => NormPlacement::Both,
            _ => NormPlacement::Before,
        },
        qk_norm: match family {
            "qwen3" | "qwen3_moe" | "gemma3" | "gemma3_text" => QkNorm::Head,
            "olmo2" => QkNorm::Projection,
            _ => QkNorm::No,
        },
        bias: match family {
            "qwen2" => Bias { qkv: true, ..Bias::default() },
            "mistral" | "phi3" => Bias::default(),
            _ => Bias {
                qkv: attention_bias,
                output: attention_bias,
                mlp: mlp_bias && matches!(family, "llama" | "smollm3" | "granite"),
            },
        },
        activation: activation(keys, if gemma { "hidden_activation" } else { "hidden_act" })?,
        attention_scale: match family {
            "granite" => keys.number("attention_multiplier")?.unwrap_or(1.0),
            _ if gemma => scalar.powf(-0.5),
            _ => (head_dim as f64).powf(-0.5),
        },
        attention_softcap: softcap(keys, "attn_logit_softcapping", (family == "gemma2").then_some(50.0))?,
        logit_softcap: softcap(keys, "final_logit_softcapping", (family == "gemma2").then_some(30.0))?,
        embedding_scale: match family {
            "granite" => keys.number("embedding_multiplier")?.unwrap_or(1.0),
            _ if gemma => (hidden_size as f64).sqrt(),
            _ => 1.0,
        },
        residual_scale: keys.number("residual_multiplier")?.filter(|_| family == "granite").unwrap_or(1.0),
        logit_scale: 1.0 / keys.number("logits_scaling")?.filter(|_| family == "granite").unwrap_or(1.0),
        tied: or_outer("tie_word_embeddings")?.unwrap_or(gemma || family == "smollm3"),
        ropes: ropes(keys, family, rotary, context)?,
        layers: layers(keys, family, depth)?,
        experts: experts(keys, family)?,
        bos: keys.tokens("bos_token_id")?.first().copied(),
        eos,
    })
}

/// A soft cap: the class's default where the key is absent, none where it is null.
fn softcap(keys: &Keys, key: &str, default: Option<f64>) -> Result<Option<f64>, ConfigError> {
    if keys.0.contains_key(key) { keys.number(key) } else { Ok(default) }
}

fn activation(keys: &Keys, key: &str) -> Result<Activation, ConfigError> {
    // Gemma's first configs name `hidden_act`; `hidden_activation` wins where both are given.
    let name = match keys.text(key)? {
        Some(name) => name,
        None if key == "hidden_activation" => "gelu_pytorch_tanh".into(),
        None => "silu".into(),
    };
    match name.as_str() {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Ok(Activation::GeluTanh),
        _ => Err(unsupported(key, name, "; supported are silu, gelu and gelu_pytorch_tanh")),
    }
}

/// Values of a head that are rotated.
fn rotated(keys: &Keys, head_dim: usize) -> Result<usize, ConfigError> {
    let nested = keys.value("rope_parameters").and_then(Value::as_object).map(Keys);
    let part = match nested.map(|n| n.number("partial_rotary_factor")).transpose()?.flatten() {
        Some(part) => part,
        None => keys.number("partial_rotary_factor")?.unwrap_or(1.0),
    };
    if !(part > 0.0 && part <= 1.0) {
        return Err(unsupported("partial_rotary_factor", part, "; it must be above 0 and at most 1"));
    }
    Ok((head_dim as f64 * part) as usize)
}

/// The rotations in use: one, or for Gemma 3 that of full layers, then that of sliding ones.
fn ropes(keys: &Keys, family: &str, dim: usize, context: usize) -> Result<Vec<RopeConfig>, ConfigError> {
    let (theta, local) = thetas(keys, family)?;
    let full = RopeConfig { theta, dim, scaling: scaling(keys, "full_attention", context)? };
    let Some(local) = local else { return Ok(vec![full]) };
    // Transformers 4 scales the full layers only.
    let nested = keys.value("rope_parameters").is_some();
    let local_scaling =
        if nested { scaling(keys, "sliding_attention", context)? } else { crate::rope::RopeScaling::Default };
    Ok(vec![full, RopeConfig { theta: local, dim, scaling: local_scaling }])
}

fn layers(keys: &Keys, family: &str, depth: usize) -> Result<Vec<Layer>, ConfigError> {
    let default_window = match family {
        "mistral" | "gemma2" | "gemma3" | "gemma3_text" => Some(4096),
        _ => None,
    };
    let given = if keys.0.contains_key("sliding_window") { keys.size("sliding_window")? } else { default_window };
    let uses_switch = matches!(family, "qwen2" | "qwen3" | "qwen3_moe" | "smollm3");
    let window = match given {
        _ if uses_switch && !keys.switch("use_sliding_window")?.unwrap_or(false) => None,
        _ if matches!(family, "llama" | "granite" | "olmo2") => None,
        window => window,
    };
    let slides = sliding_layers(keys, family, depth)?;
    let rotates = rotating_layers(keys, family, depth)?;
    let sparse = sparse_layers(keys, family, depth)?;
    let layer = |i: usize| Layer {
        window: window.filter(|_| slides[i]),
        rope: rotates[i].then_some(usize::from(family.starts_with("gemma3") && slides[i])),
        sparse: sparse[i],
    };
    Ok((0..depth).map(layer).collect())
}

/// Which layers attend through a window, where there is one.
fn sliding_layers(keys: &Keys, family: &str, depth: usize) -> Result<Vec<bool>, ConfigError> {
    let named = |v: &Value| v.as_array()?.iter().map(|t| t.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    if let Some(types) = keys.typed("layer_types", "a list of strings", named)? {
        if types.len() != depth {
            return Err(ConfigError::Contradiction(format!(
                "`layer_types` names {} layers, `num_hidden_layers` is {depth}",
                types.len()
            )));
        }
        let slides = |t: String| match t.as_str() {
            "sliding_attention" => Ok(true),
            "full_attention" => Ok(false),
            _ => Err(unsupported("layer_types", t, "; supported are full_attention and sliding_attention")),
        };
        return types.into_iter().map(slides).collect();
    }
    let pattern = keys.size("sliding_window_pattern")?.or(keys.size("_sliding_window_pattern")?).unwrap_or(6);
    let first_windowed = keys.size("max_window_layers")?.unwrap_or(28);
    let rotates = rotating_layers(keys, family, depth)?;
    Ok((0..depth)
        .map(|i| match family {
            "gemma2" => i % 2 == 0,
            "gemma3" | "gemma3_text" => !(i + 1).is_multiple_of(pattern),
            "qwen2" | "qwen3" => i >= first_windowed,
            "smollm3" => !rotates[i],
            _ => true,
        })
        .collect())
}

/// Which layers rotate queries and keys (SmolLM 3 leaves every fourth out).
fn rotating_layers(keys: &Keys, family: &str, depth: usize) -> Result<Vec<bool>, ConfigError> {
    if family != "smollm3" {
        return Ok(vec![true; depth]);
    }
    if let Some(list) = keys.sizes("no_rope_layers")? {
        if list.len() != depth {
            return Err(ConfigError::Contradiction(format!(
                "`no_rope_layers` has {} entries, `num_hidden_layers` is {depth}",
                list.len()
            )));
        }
        return Ok(list.into_iter().map(|on| on != 0).collect());
    }
    let interval = keys.size("no_rope_layer_interval")?.unwrap_or(4);
    if interval == 0 {
        return Err(unsupported("no_rope_layer_interval", 0, "; it must be at least 1"));
    }
    Ok((1..=depth).map(|i| !i.is_multiple_of(interval)).collect())
}

fn sparse_layers(keys: &Keys, family: &str, depth: usize) -> Result<Vec<bool>, ConfigError> {
    if family != "qwen3_moe" {
        return Ok(vec![false; depth]);
    }
    let step = keys.size("decoder_sparse_step")?.unwrap_or(1);
    let dense = keys.sizes("mlp_only_layers")?.unwrap_or_default();
    Ok((0..depth).map(|i| step != 0 && (i + 1).is_multiple_of(step) && !dense.contains(&i)).collect())
}

fn experts(keys: &Keys, family: &str) -> Result<Option<Experts>, ConfigError> {
    if family != "qwen3_moe" {
        return Ok(None);
    }
    let count = match keys.size("num_experts")? {
        Some(n) => n,
        None => keys.required("num_local_experts")?,
    };
    Ok(Some(Experts {
        count,
        per_token: keys.required("num_experts_per_tok")?,
        intermediate_size: keys.required("moe_intermediate_size")?,
        normalize: keys.switch("norm_topk_prob")?.unwrap_or(false),
    }))
}
