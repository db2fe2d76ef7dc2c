//! GGUF metadata → [`Config`].
//!
//! Keys are those of the GGUF specification (`general.architecture`, then `<architecture>.…`). What a `config.json` says
//! in words, a GGUF file often says by the presence of a tensor: biases, an untied head, Llama 3's frequency divisors.

use crate::config::{Activation, Bias, Config, ConfigError, Layer, NormGain, NormPlacement, QkNorm, unsupported};
use crate::gguf::Gguf;
use crate::rope::{RopeConfig, RopeScaling};

/// Architectures that are configs of this transformer.
pub const ARCHITECTURES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

impl Config {
    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    /// [`ConfigError`]: what is missing, of a wrong type, unsupported or contradictory, by key and value.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ConfigError> {
        let config = Reader::new(gguf)?.config()?;
        config.check()?;
        Ok(config)
    }
}

struct Reader<'a> {
    gguf: &'a Gguf,
    family: String,
}

impl<'a> Reader<'a> {
    fn new(gguf: &'a Gguf) -> Result<Self, ConfigError> {
        let family = text(gguf, "general.architecture")?
            .ok_or_else(|| ConfigError::Missing { key: "general.architecture".into() })?;
        if !ARCHITECTURES.contains(&family.as_str()) {
            let hint = format!("; supported are {}", ARCHITECTURES.join(", "));
            return Err(unsupported("general.architecture", family, hint));
        }
        Ok(Self { gguf, family })
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family)
    }

    fn size(&self, name: &str) -> Result<Option<usize>, ConfigError> {
        self.gguf.u64(&self.key(name)).map_err(wrong).map(|n| n.map(|n| usize::try_from(n).unwrap_or(usize::MAX)))
    }

    fn required(&self, name: &str) -> Result<usize, ConfigError> {
        self.size(name)?.ok_or_else(|| ConfigError::Missing { key: self.key(name) })
    }

    fn number(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        self.gguf.f64(&self.key(name)).map_err(wrong)
    }

    fn has(&self, tensor: &str) -> bool {
        self.gguf.weights().get(tensor).is_some()
    }

    fn config(&self) -> Result<Config, ConfigError> {
        if let Some(count) = self.size("expert_count")?.filter(|&n| n > 0) {
            return Err(unsupported(
                &self.key("expert_count"),
                count,
                "; mixtures of experts are read from safetensors",
            ));
        }
        let gemma = self.family == "gemma3";
        let hidden_size = self.required("embedding_length")?;
        let heads = self.required("attention.head_count")?;
        if heads == 0 {
            return Err(unsupported(&self.key("attention.head_count"), 0, "; it must be at least 1"));
        }
        let head_dim = match self.size("attention.key_length")? {
            Some(n) => n,
            None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => {
                return Err(ConfigError::Contradiction(format!(
                    "`{}` = {hidden_size} is not a multiple of `{}` = {heads}",
                    self.key("embedding_length"),
                    self.key("attention.head_count")
                )));
            }
        };
        if let Some(values) = self.size("attention.value_length")?.filter(|&n| n != head_dim) {
            return Err(unsupported(&self.key("attention.value_length"), values, format!("; keys have {head_dim}")));
        }
        let depth = self.required("block_count")?;
        if depth == 0 || depth > 1 << 16 {
            return Err(unsupported(&self.key("block_count"), depth, "; it must be between 1 and 65536"));
        }
        let context = self.required("context_length")?;
        let embedding = self.gguf.weights().get("token_embd.weight").map(|t| t.shape().to_vec());
        let vocab_size = match embedding.as_deref() {
            Some([rows, _]) => *rows,
            _ => return Err(ConfigError::Missing { key: "token_embd.weight".into() }),
        };
        Ok(Config {
            vocab_size,
            hidden_size,
            intermediate_size: self.required("feed_forward_length")?,
            heads,
            kv_heads: self.size("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            context,
            norm_eps: self
                .number("attention.layer_norm_rms_epsilon")?
                .ok_or_else(|| ConfigError::Missing { key: self.key("attention.layer_norm_rms_epsilon") })?,
            // The conversion to GGUF has added Gemma's one already.
            norm_gain: NormGain::Weight,
            norms: if gemma { NormPlacement::Both } else { NormPlacement::Before },
            qk_norm: if matches!(self.family.as_str(), "qwen3" | "gemma3") { QkNorm::Head } else { QkNorm::No },
            bias: Bias {
                qkv: self.has("blk.0.attn_q.bias"),
                output: self.has("blk.0.attn_output.bias"),
                mlp: self.has("blk.0.ffn_gate.bias"),
            },
            activation: if gemma { Activation::GeluTanh } else { Activation::Silu },
            // Gemma 3 27B alone scales by the width per head instead of the head's own.
            attention_scale: if gemma && depth == 62 {
                (hidden_size as f64 / heads as f64).powf(-0.5)
            } else {
                (head_dim as f64).powf(-0.5)
            },
            attention_softcap: None,
            logit_softcap: self.number("final_logit_softcapping")?.filter(|&c| c > 0.0),
            embedding_scale: if gemma { (hidden_size as f64).sqrt() } else { 1.0 },
            residual_scale: 1.0,
            logit_scale: 1.0,
            tied: !self.has("output.weight"),
            ropes: self.ropes(head_dim, context)?,
            layers: self.layers(depth)?,
            experts: None,
            bos: token(self.gguf, "tokenizer.ggml.bos_token_id")?,
            eos: self.eos()?,
            family: self.family.clone(),
        })
    }

    fn layers(&self, depth: usize) -> Result<Vec<Layer>, ConfigError> {
        if self.family != "gemma3" {
            return Ok(vec![Layer { window: None, rope: Some(0), sparse: false }; depth]);
        }
        let window = self.size("attention.sliding_window")?.filter(|&w| w > 0);
        let layer = |i: usize| {
            let window = window.filter(|_| i % 6 < 5); // five sliding layers, then a full one
            Layer { window, rope: Some(usize::from(window.is_some())), sparse: false }
        };
        Ok((0..depth).map(layer).collect())
    }

    fn ropes(&self, head_dim: usize, context: usize) -> Result<Vec<RopeConfig>, ConfigError> {
        let gemma = self.family == "gemma3";
        let theta = self.number("rope.freq_base")?.unwrap_or(if gemma { 1e6 } else { 1e4 });
        let dim = self.size("rope.dimension_count")?.unwrap_or(head_dim);
        let full = RopeConfig { theta, dim, scaling: self.scaling(context)? };
        if !gemma {
            return Ok(vec![full]);
        }
        let local = self.number("rope.freq_base_swa")?.unwrap_or(1e4);
        Ok(vec![full, RopeConfig { theta: local, dim, scaling: RopeScaling::Default }])
    }

    fn scaling(&self, context: usize) -> Result<RopeScaling, ConfigError> {
        if let Some(divisors) = self.gguf.weights().get("rope_freqs.weight") {
            let values = divisors.to_f32().map_err(|e| ConfigError::Contradiction(e.to_string()))?;
            return Ok(RopeScaling::Divisors(values));
        }
        let kind = text(self.gguf, &self.key("rope.scaling.type"))?;
        let factor = match self.number("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.number("rope.scale_linear")?,
        };
        match (kind.as_deref(), factor) {
            (Some("none") | None, None) => Ok(RopeScaling::Default),
            (Some("none"), _) => Ok(RopeScaling::Default),
            (Some("linear") | None, Some(factor)) => Ok(RopeScaling::Linear { factor }),
            (Some("yarn"), Some(factor)) => Ok(RopeScaling::Yarn {
                factor,
                beta_fast: self.number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: self.number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                original: self.size("rope.scaling.original_context_length")?.unwrap_or(context),
                attention_factor: if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 },
                truncate: true,
            }),
            (Some(_), None) => Err(ConfigError::Missing { key: self.key("rope.scaling.factor") }),
            (Some(other), Some(_)) => {
                Err(unsupported(&self.key("rope.scaling.type"), other, "; supported are none, linear and yarn"))
            }
        }
    }

    /// End of text and, where the file names them, end of turn and end of message.
    fn eos(&self) -> Result<Vec<u32>, ConfigError> {
        let mut eos = Vec::new();
        for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            eos.extend(token(self.gguf, &format!("tokenizer.ggml.{key}"))?.filter(|t| !eos.contains(t)));
        }
        Ok(eos)
    }
}

fn wrong(error: crate::gguf::GgufError) -> ConfigError {
    ConfigError::Contradiction(error.to_string())
}

fn text(gguf: &Gguf, key: &str) -> Result<Option<String>, ConfigError> {
    gguf.string(key).map(|s| s.map(str::to_owned)).map_err(wrong)
}

fn token(gguf: &Gguf, key: &str) -> Result<Option<u32>, ConfigError> {
    let id = gguf.u64(key).map_err(wrong)?;
    id.map(|n| u32::try_from(n).map_err(|_| unsupported(key, n, "; a token id has 32 bits"))).transpose()
}
