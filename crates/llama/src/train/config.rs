//! Which model is trained, as data: the table `[model]` of `configs/train/*.toml`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Activation, Bias, Config, ConfigError, Layer, NormGain, NormPlacement, QkNorm};
use crate::rope::{RopeConfig, RopeScaling};

/// A new model, or one to go on with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Keys", into = "Keys")]
pub enum ModelConfig {
    /// A new model of this shape.
    New(NewModel),
    /// The model of a Hugging Face folder. A path that is not absolute begins where the reader of the config says.
    Base(PathBuf),
}

/// Shape of a new model of the Llama architecture.
#[derive(Clone, Debug, PartialEq)]
pub struct NewModel {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads; they divide `hidden`.
    pub heads: usize,
    /// Key and value heads; they divide `heads`, and are as many if not given.
    pub kv_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate: usize,
    /// Positions.
    pub context: usize,
    /// Base of the frequencies of the rotation.
    pub rope_theta: f64,
    /// The output head is the embedding.
    pub tied: bool,
    /// ε of the norms.
    pub norm_eps: f64,
}

impl NewModel {
    /// The config of such a model with a vocabulary.
    ///
    /// # Errors
    /// [`ConfigError`]: sizes that contradict each other.
    pub fn config(&self, vocab_size: usize, bos: Option<u32>, eos: &[u32]) -> Result<Config, ConfigError> {
        let Self { hidden, heads, .. } = *self;
        if heads == 0 || !hidden.is_multiple_of(heads) {
            let text = format!("`hidden` = {hidden} is not a multiple of `heads` = {heads}");
            return Err(ConfigError::Contradiction(text));
        }
        let head_dim = hidden / heads;
        let rope = RopeConfig { theta: self.rope_theta, dim: head_dim, scaling: RopeScaling::Default };
        let config = Config {
            family: "llama".into(),
            vocab_size,
            hidden_size: hidden,
            intermediate_size: self.intermediate,
            heads,
            kv_heads: self.kv_heads,
            head_dim,
            context: self.context,
            norm_eps: self.norm_eps,
            norm_gain: NormGain::Weight,
            norms: NormPlacement::Before,
            qk_norm: QkNorm::No,
            bias: Bias::default(),
            activation: Activation::Silu,
            attention_scale: 1.0 / (head_dim as f64).sqrt(),
            attention_softcap: None,
            logit_softcap: None,
            embedding_scale: 1.0,
            residual_scale: 1.0,
            logit_scale: 1.0,
            tied: self.tied,
            ropes: vec![rope],
            layers: vec![Layer { window: None, rope: Some(0), sparse: false }; self.layers],
            experts: None,
            bos,
            eos: eos.to_vec(),
        };
        if self.kv_heads == 0 {
            return Err(ConfigError::Contradiction("`kv_heads` = 0; it must be a number from 1 on".into()));
        }
        config.check()?;
        Ok(config)
    }
}

/// All keys that the table may have.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    base: Option<PathBuf>,
    hidden: Option<usize>,
    layers: Option<usize>,
    heads: Option<usize>,
    kv_heads: Option<usize>,
    intermediate: Option<usize>,
    context: Option<usize>,
    rope_theta: Option<f64>,
    tied: Option<bool>,
    norm_eps: Option<f64>,
}

impl TryFrom<Keys> for ModelConfig {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        if let Some(base) = keys.base {
            let sizes = [keys.hidden, keys.layers, keys.heads, keys.kv_heads, keys.intermediate, keys.context];
            let others = keys.rope_theta.is_some() || keys.tied.is_some() || keys.norm_eps.is_some();
            return match others || sizes.iter().any(Option::is_some) {
                true => Err("`base` names a model that is there; it has its shape already".into()),
                false => Ok(Self::Base(base)),
            };
        }
        let needed = |key: &str, value: Option<usize>| value.ok_or(format!("`{key}` is missing, or `base`"));
        let heads = needed("heads", keys.heads)?;
        Ok(Self::New(NewModel {
            hidden: needed("hidden", keys.hidden)?,
            layers: needed("layers", keys.layers)?,
            heads,
            kv_heads: keys.kv_heads.unwrap_or(heads),
            intermediate: needed("intermediate", keys.intermediate)?,
            context: needed("context", keys.context)?,
            rope_theta: keys.rope_theta.unwrap_or(10_000.0),
            tied: keys.tied.unwrap_or(true),
            norm_eps: keys.norm_eps.unwrap_or(1e-5),
        }))
    }
}

impl From<ModelConfig> for Keys {
    fn from(config: ModelConfig) -> Self {
        match config {
            ModelConfig::Base(base) => Self { base: Some(base), ..Self::default() },
            ModelConfig::New(new) => Self {
                base: None,
                hidden: Some(new.hidden),
                layers: Some(new.layers),
                heads: Some(new.heads),
                kv_heads: Some(new.kv_heads),
                intermediate: Some(new.intermediate),
                context: Some(new.context),
                rope_theta: Some(new.rope_theta),
                tied: Some(new.tied),
                norm_eps: Some(new.norm_eps),
            },
        }
    }
}
