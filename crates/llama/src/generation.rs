//! `generation_config.json` of a Hugging Face folder.

use serde_json::Value;

use crate::config::ConfigError;
use crate::hf::Keys;

/// What a `generation_config.json` recommends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end an answer.
    pub eos: Vec<u32>,
    /// Tokens are to be drawn, not taken greedily.
    pub sample: bool,
    /// Temperature.
    pub temperature: Option<f64>,
    /// The k most likely.
    pub top_k: Option<usize>,
    /// The nucleus.
    pub top_p: Option<f64>,
    /// The least probability relative to the likeliest.
    pub min_p: Option<f64>,
    /// Penalty of what was already said.
    pub repetition_penalty: Option<f64>,
}

impl GenerationConfig {
    /// Reads a `generation_config.json`.
    ///
    /// # Errors
    /// [`ConfigError::Json`] and [`ConfigError::Type`].
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigError> {
        let value: Value = serde_json::from_slice(json).map_err(|e| ConfigError::Json(e.to_string()))?;
        let keys = Keys(value.as_object().ok_or_else(|| ConfigError::Json("not an object".into()))?);
        Ok(Self {
            eos: keys.tokens("eos_token_id")?,
            sample: keys.switch("do_sample")?.unwrap_or(false),
            temperature: keys.number("temperature")?,
            top_k: keys.size("top_k")?,
            top_p: keys.number("top_p")?,
            min_p: keys.number("min_p")?,
            repetition_penalty: keys.number("repetition_penalty")?,
        })
    }
}
