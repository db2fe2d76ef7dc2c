//! What a codec of frames is made of, as data: `configs/codec/*.toml`.
//!
//! Encoder and decoder are lists of layers; the quantiser stands between. A published codec is a value of [`FrameConfig`] too:
//! [`FrameConfig::dac`] is that of Descript's (Kumar et al. 2023, *High-fidelity audio compression with improved RVQGAN*).

use jielong_nn::quantizer::{QuantizerConfig, QuantizerError};
use serde::{Deserialize, Serialize};

/// Sizes beyond these are no codec.
const WIDEST: usize = 1 << 14;
const MOST_LAYERS: usize = 64;
const MOST_BOOKS: usize = 64;

/// Shape of a codec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameConfig {
    /// Samples a second.
    pub sample_rate: u32,
    /// Samples of a frame.
    pub hop: usize,
    /// What makes frames of samples: `[b, 1, samples]` → `[b, channels, frames]`.
    pub encoder: Vec<LayerConfig>,
    /// What makes samples of frames.
    pub decoder: Vec<LayerConfig>,
    /// Books: each codes what those before it left.
    pub books: usize,
    /// What makes codes of vectors.
    pub quantizer: QuantizerConfig,
}

/// A layer, `[b, channels, time]` → the same. Convolutions keep the time but for their stride; zeros are before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerConfig {
    /// A convolution.
    Conv {
        /// Channels that come out.
        outputs: usize,
        /// Places it sees, an odd number.
        kernel: usize,
    },
    /// `x + sin²(αx) / α`, α for each channel (Ziyin et al. 2020).
    Snake,
    /// Three residual units of dilated convolutions, then a convolution to fewer places, `rate` to one.
    Down {
        /// Channels that come out.
        outputs: usize,
        /// Places to one.
        rate: usize,
    },
    /// The way back: one place to `rate`, then three residual units.
    Up {
        /// Channels that come out.
        outputs: usize,
        /// Places of one.
        rate: usize,
    },
    /// Within -1..1.
    Tanh,
    /// Samples → the logarithm of mel bands, one spectrum a hop.
    Mel {
        /// Samples of a window, a multiple of the hop.
        window: usize,
        /// Bands.
        bands: usize,
    },
    /// Blocks of ConvNeXt (Liu et al. 2022), as in Vocos: a convolution in, a norm, the blocks, a norm.
    Convnext {
        /// Channels.
        channels: usize,
        /// Channels inside a block.
        hidden: usize,
        /// Places it sees, an odd number.
        kernel: usize,
        /// Blocks.
        blocks: usize,
    },
    /// Magnitudes and phases of spectra, then their inverse transform, one hop of samples a place (Siuzdak 2023, *Vocos*).
    Spectrum {
        /// Samples of a window, a multiple of the hop.
        window: usize,
    },
}

/// What a config says that cannot be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML or JSON, or not these keys.
    #[error("{0}")]
    Text(String),
    /// A value that no codec has.
    #[error("`{key}` = {value}; {expected}")]
    Value {
        /// The key.
        key: String,
        /// The value found.
        value: String,
        /// What is expected.
        expected: String,
    },
    /// A quantiser that cannot be.
    #[error("`quantizer`: {0}")]
    Quantizer(#[from] QuantizerError),
}

impl FrameConfig {
    /// Reads and checks a config.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|e| ConfigError::Text(e.to_string().trim_end().into()))?;
        config.check()?;
        Ok(config)
    }

    /// Refuses sizes that do not go together or that no machine can hold.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        within("hop", self.hop, WIDEST)?;
        within("sample_rate", self.sample_rate as usize, 1 << 20)?;
        within("books", self.books, MOST_BOOKS)?;
        self.quantizer.check()?;
        let down = self.side("encoder", &self.encoder)?;
        let up = self.side("decoder", &self.decoder)?;
        for (key, found) in [("encoder", down), ("decoder", up)] {
            if found != self.hop {
                let expected = format!("layers that together take or make {} samples a frame are expected", self.hop);
                return Err(value(key, format!("layers of {found} samples"), expected));
            }
        }
        Ok(())
    }

    /// Samples that one frame of these layers is, if they are sound.
    fn side(&self, key: &str, layers: &[LayerConfig]) -> Result<usize, ConfigError> {
        within(key, layers.len(), MOST_LAYERS)?;
        let mut samples = 1usize;
        for (index, layer) in layers.iter().enumerate() {
            let at = |name: &str| format!("{key}.{index}.{name}");
            let kernel = |kernel: usize| match kernel % 2 {
                1 if kernel <= 255 => Ok(()),
                _ => Err(value(at("kernel"), kernel.to_string(), "an odd number up to 255 is expected".into())),
            };
            let window = |window: usize| match window > 0 && window.is_multiple_of(self.hop) && window <= WIDEST {
                true => Ok(()),
                false => Err(value(at("window"), window.to_string(), "a multiple of `hop` is expected".into())),
            };
            match *layer {
                LayerConfig::Conv { outputs, kernel: k } => {
                    within(at("outputs"), outputs, WIDEST)?;
                    kernel(k)?;
                }
                LayerConfig::Down { outputs, rate } | LayerConfig::Up { outputs, rate } => {
                    within(at("outputs"), outputs, WIDEST)?;
                    within(at("rate"), rate, 64)?;
                    samples = samples.saturating_mul(rate);
                }
                LayerConfig::Mel { window: w, bands } => {
                    window(w)?;
                    within(at("bands"), bands, w / 2)?;
                    samples = samples.saturating_mul(self.hop);
                }
                LayerConfig::Spectrum { window: w } => {
                    window(w)?;
                    samples = samples.saturating_mul(self.hop);
                }
                LayerConfig::Convnext { channels, hidden, kernel: k, blocks } => {
                    within(at("channels"), channels, WIDEST)?;
                    within(at("hidden"), hidden, WIDEST)?;
                    within(at("blocks"), blocks, MOST_LAYERS)?;
                    kernel(k)?;
                }
                LayerConfig::Snake | LayerConfig::Tanh => {}
            }
        }
        Ok(samples)
    }
}

fn value(key: impl Into<String>, value: String, expected: String) -> ConfigError {
    ConfigError::Value { key: key.into(), value, expected }
}

fn within(key: impl Into<String>, found: usize, most: usize) -> Result<(), ConfigError> {
    if (1..=most).contains(&found) {
        return Ok(());
    }
    Err(value(key, found.to_string(), format!("a number between 1 and {most} is expected")))
}
