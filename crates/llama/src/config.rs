//! What one decoder-only transformer is made of, as plain checked data.
//!
//! Every family is a value of [`Config`]; nothing downstream asks for a family's name. The two readers are
//! [`Config::from_hf`](crate::hf) (`config.json`) and [`Config::from_gguf`](crate::arch) (GGUF metadata); both end in
//! [`Config::check`], after which shapes agree and no later arithmetic can divide by zero.

use serde::Serialize;

use crate::rope::{RopeConfig, RopeScaling};

/// Shape and arithmetic of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// The family's `model_type` in Transformers, or the `general.architecture` of a GGUF file.
    pub family: String,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the dense feed-forward layer.
    pub intermediate_size: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Positions the model was made for.
    pub context: usize,
    /// ε of every RMSNorm.
    pub norm_eps: f64,
    /// What a norm multiplies with.
    pub norm_gain: NormGain,
    /// Where a block normalises.
    pub norms: NormPlacement,
    /// Normalisation of queries and keys before the rotation.
    pub qk_norm: QkNorm,
    /// Biases of the linear layers.
    pub bias: Bias,
    /// Gate of the feed-forward layer.
    pub activation: Activation,
    /// Factor on query·key.
    pub attention_scale: f64,
    /// `c · tanh(score / c)` on attention scores (Gemma 2).
    pub attention_softcap: Option<f64>,
    /// `c · tanh(logit / c)` on the output (Gemma 2).
    pub logit_softcap: Option<f64>,
    /// Factor on the embeddings (Gemma, Granite).
    pub embedding_scale: f64,
    /// Factor on what a layer adds to the residual stream (Granite).
    pub residual_scale: f64,
    /// Factor on the logits (Granite).
    pub logit_scale: f64,
    /// The output head is the embedding.
    pub tied: bool,
    /// Rotary embeddings in use; layers name one by its index.
    pub ropes: Vec<RopeConfig>,
    /// One entry a layer.
    pub layers: Vec<Layer>,
    /// Sizes of the sparse feed-forward layers, where there are any.
    pub experts: Option<Experts>,
    /// Token that starts a text, if the config names one.
    pub bos: Option<u32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
}

/// What differs from layer to layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// Keys a query sees, itself included; all if `None`.
    pub window: Option<usize>,
    /// Index into [`Config::ropes`]; no rotation if `None` (SmolLM 3).
    pub rope: Option<usize>,
    /// The feed-forward layer is a mixture of [`Config::experts`].
    pub sparse: bool,
}

/// What a norm multiplies with: its weight, or one plus its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NormGain {
    /// `x̂ · w`
    Weight,
    /// `x̂ · (1 + w)`, as Gemma checkpoints store it
    OnePlusWeight,
}

/// Where a block normalises: what goes into a layer, what comes out of it, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPlacement {
    /// `x + f(norm(x))` (Llama and most others)
    Before,
    /// `x + norm(f(x))` (OLMo 2)
    After,
    /// `x + norm(f(norm(x)))` (Gemma 2 and 3)
    Both,
}

/// Normalisation of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// None.
    No,
    /// Over each head (Qwen 3, Gemma 3).
    Head,
    /// Over all heads at once (OLMo 2).
    Projection,
}

/// Which linear layers carry a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bias {
    /// Query, key and value projections.
    pub qkv: bool,
    /// The attention's output projection.
    pub output: bool,
    /// Gate, up and down of the feed-forward layer.
    pub mlp: bool,
}

/// Gate of the feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x · σ(x)`: SwiGLU
    Silu,
    /// Exact GELU: GeGLU
    Gelu,
    /// GELU by its tanh approximation
    GeluTanh,
}

/// Sizes of a mixture of experts (Qwen3-MoE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Experts {
    /// Experts in a layer.
    pub count: usize,
    /// Experts that work on a token.
    pub per_token: usize,
    /// Width of one expert.
    pub intermediate_size: usize,
    /// The chosen experts' probabilities are scaled to sum to one.
    pub normalize: bool,
}

/// What a `config.json` or GGUF header asks for that this transformer does not do, or that contradicts itself.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConfigError {
    /// Not JSON, or nested too deeply.
    #[error("not valid JSON: {0}")]
    Json(String),
    /// A key that must be there is not.
    #[error("`{key}` is missing")]
    Missing {
        /// The key.
        key: String,
    },
    /// A key has another type.
    #[error("`{key}` is {found}, expected {expected}")]
    Type {
        /// The key.
        key: String,
        /// The value found.
        found: String,
        /// The type expected.
        expected: &'static str,
    },
    /// A value that is well-formed but that this transformer does not compute.
    #[error("`{key}` = {value} is not supported{hint}")]
    Unsupported {
        /// The key.
        key: String,
        /// The value found.
        value: String,
        /// What is supported, as the end of the sentence.
        hint: String,
    },
    /// Two values that cannot both hold.
    #[error("{0}")]
    Contradiction(String),
}

impl Config {
    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Positions that a state holds unless more are asked for: those the model was made for, or, with LongRoPE, those of
    /// its first training, as longer contexts change the frequencies and so every answer.
    pub fn default_context(&self) -> usize {
        let original = self.ropes.iter().find_map(|rope| match rope.scaling {
            RopeScaling::Long { original, .. } => Some(original),
            _ => None,
        });
        original.unwrap_or(self.context).min(self.context)
    }

    /// Refuses sizes that contradict each other or that no machine can hold.
    pub fn check(&self) -> Result<(), ConfigError> {
        const LIMIT: usize = 1 << 24;
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("num_hidden_layers", self.layers.len()),
            ("max_position_embeddings", self.context),
        ];
        for (key, value) in sizes {
            if value == 0 || value > LIMIT {
                return Err(unsupported(key, value, format!("; it must be between 1 and {LIMIT}")));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(ConfigError::Contradiction(format!(
                "`num_attention_heads` = {} is not a multiple of `num_key_value_heads` = {}",
                self.heads, self.kv_heads
            )));
        }
        if !self.norm_eps.is_finite() || self.norm_eps < 0.0 {
            return Err(unsupported("rms_norm_eps", self.norm_eps, "; it must be a number ≥ 0"));
        }
        let scales = [
            ("attention scale", self.attention_scale),
            ("embedding scale", self.embedding_scale),
            ("residual scale", self.residual_scale),
            ("logit scale", self.logit_scale),
            ("attn_logit_softcapping", self.attention_softcap.unwrap_or(1.0)),
            ("final_logit_softcapping", self.logit_softcap.unwrap_or(1.0)),
        ];
        for (key, value) in scales {
            if !value.is_finite() || value <= 0.0 {
                return Err(unsupported(key, value, "; it must be a number above 0"));
            }
        }
        for rope in &self.ropes {
            rope.check(self.head_dim)?;
        }
        if let Some(e) = self.experts
            && (e.count == 0 || e.per_token == 0 || e.per_token > e.count || e.intermediate_size == 0)
        {
            return Err(ConfigError::Contradiction(format!(
                "`num_experts_per_tok` = {} of `num_experts` = {} experts of width {} cannot be",
                e.per_token, e.count, e.intermediate_size
            )));
        }
        let named = self.bos.iter().map(|t| ("bos_token_id", t)).chain(self.eos.iter().map(|t| ("eos_token_id", t)));
        for (key, &token) in named {
            if token as usize >= self.vocab_size {
                return Err(ConfigError::Contradiction(format!(
                    "`{key}` = {token} is outside the vocabulary of {}",
                    self.vocab_size
                )));
            }
        }
        if self.layers.iter().any(|l| l.window == Some(0)) {
            return Err(unsupported("sliding_window", 0, "; it must be at least 1, or null"));
        }
        Ok(())
    }

    /// Parameters of the model, tied ones counted once.
    pub fn parameters(&self) -> u64 {
        crate::checkpoint::tensors(self).iter().map(|t| t.shape.iter().map(|&n| n as u64).product::<u64>()).sum()
    }

    /// Bytes of the key-value cache for `positions`, at `bytes` per value.
    pub fn cache_bytes(&self, positions: usize, bytes: usize) -> u64 {
        2 * (self.depth() * self.kv_heads * self.head_dim * bytes) as u64 * positions as u64
    }
}

/// Shorthand for [`ConfigError::Unsupported`].
pub(crate) fn unsupported(key: &str, value: impl ToString, hint: impl Into<String>) -> ConfigError {
    ConfigError::Unsupported { key: key.into(), value: value.to_string(), hint: hint.into() }
}
