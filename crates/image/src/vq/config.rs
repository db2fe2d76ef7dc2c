//! What a codec is made of, as data: `configs/codec/*.toml`.
//!
//! The keys are those of LlamaGen (Sun et al. 2024), whose VQ-16 is one value of [`VqConfig`].

use jielong_nn::quantizer::{QuantizerConfig, QuantizerError};
use serde::{Deserialize, Serialize};

/// Sizes beyond these are no codec.
const WIDEST: usize = 1 << 14;
const WIDEST_STEM: usize = 16;
const MOST_LEVELS: usize = 8;
const MOST_BLOCKS: usize = 64;

/// Shape of a codec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VqConfig {
    /// Channels that the factors of the levels multiply.
    pub ch: usize,
    /// Pixels, in each direction, that are one place of the first level, with their colours as its channels; LlamaGen has 1.
    /// The levels of most pixels and least meaning are the dearest: 4 makes a codec several times as fast.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub stem: usize,
    /// Factors of the encoder's levels; each level but the last halves the picture.
    pub encoder_ch_mult: Vec<usize>,
    /// Factors of the decoder's levels, from the pixels down.
    pub decoder_ch_mult: Vec<usize>,
    /// Residual blocks of a level of the encoder; the decoder has one more.
    pub num_res_blocks: usize,
    /// Channels between the encoder and the quantiser.
    pub z_channels: usize,
    /// Groups of every group norm.
    pub norm_groups: usize,
    /// ε of every group norm.
    pub norm_eps: f64,
    /// What makes codes of vectors.
    pub quantizer: QuantizerConfig,
}

fn one() -> usize {
    1
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

/// What a config says that cannot be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, or not these keys.
    #[error("{0}")]
    Toml(String),
    /// A value that no codec has.
    #[error("`{key}` = {value}; {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value found.
        value: String,
        /// What is expected.
        expected: String,
    },
    /// A quantiser that cannot be.
    #[error(transparent)]
    Quantizer(#[from] QuantizerError),
}

impl VqConfig {
    /// Reads and checks a config.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|e| ConfigError::Toml(e.to_string().trim_end().into()))?;
        config.check()?;
        Ok(config)
    }

    /// Refuses sizes that do not go together or that no machine can hold.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let [encoder, decoder] = [&self.encoder_ch_mult, &self.decoder_ch_mult];
        if encoder.is_empty() || encoder.len() > MOST_LEVELS {
            let expected = format!("between 1 and {MOST_LEVELS} levels are expected");
            return Err(value("encoder_ch_mult", format!("{encoder:?}"), expected));
        }
        if decoder.len() != encoder.len() {
            let expected = format!("as many levels as in `encoder_ch_mult` ({}) are expected", encoder.len());
            return Err(value("decoder_ch_mult", format!("{decoder:?}"), expected));
        }
        within("ch", self.ch, WIDEST)?;
        within("stem", self.stem, WIDEST_STEM)?;
        within("num_res_blocks", self.num_res_blocks, MOST_BLOCKS)?;
        within("z_channels", self.z_channels, WIDEST)?;
        within("norm_groups", self.norm_groups, WIDEST)?;
        for (key, factors) in [("encoder_ch_mult", encoder), ("decoder_ch_mult", decoder)] {
            for &factor in factors {
                within(key, factor, WIDEST / self.ch)?;
                if !(self.ch * factor).is_multiple_of(self.norm_groups) {
                    let expected =
                        format!("{} channels do not divide into {} groups", self.ch * factor, self.norm_groups);
                    return Err(value("norm_groups", self.norm_groups.to_string(), expected));
                }
            }
        }
        if !self.norm_eps.is_finite() || self.norm_eps <= 0.0 {
            return Err(value("norm_eps", self.norm_eps.to_string(), "a number above 0 is expected".into()));
        }
        Ok(self.quantizer.check()?)
    }

    /// Pixels of a patch in each direction: what one code stands for.
    pub fn patch(&self) -> usize {
        self.stem << (self.encoder_ch_mult.len() - 1)
    }
}

fn value(key: &'static str, value: String, expected: String) -> ConfigError {
    ConfigError::Value { key, value, expected }
}

fn within(key: &'static str, found: usize, most: usize) -> Result<(), ConfigError> {
    if (1..=most).contains(&found) {
        return Ok(());
    }
    Err(value(key, found.to_string(), format!("a number between 1 and {most} is expected")))
}
