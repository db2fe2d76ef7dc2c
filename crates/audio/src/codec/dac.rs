//! Descript's codec (Kumar et al. 2023) as a value of [`FrameConfig`], and where its files keep the weights: the original
//! `torch.save` file, or the folder that Transformers writes.

use jielong_nn::quantizer::QuantizerConfig;
use jielong_nn::weights::Weights;
use serde::Deserialize;

use super::config::{ConfigError, FrameConfig, LayerConfig};

/// The keys of a `config.json`, in the words of the original and in those of Transformers. Others say nothing of the shape.
#[derive(Debug, Deserialize)]
struct DacConfig {
    #[serde(alias = "encoder_hidden_size")]
    encoder_dim: usize,
    #[serde(alias = "downsampling_ratios")]
    encoder_rates: Vec<usize>,
    #[serde(alias = "decoder_hidden_size")]
    decoder_dim: usize,
    #[serde(alias = "upsampling_ratios")]
    decoder_rates: Vec<usize>,
    /// Channels of a frame; the encoder's last ones if there is nothing.
    #[serde(alias = "hidden_size")]
    latent_dim: Option<usize>,
    n_codebooks: usize,
    codebook_size: usize,
    codebook_dim: usize,
    #[serde(alias = "sampling_rate")]
    sample_rate: u32,
}

impl FrameConfig {
    /// Descript's codec with the sizes of a `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn dac(json: &str) -> Result<Self, ConfigError> {
        let dac: DacConfig = serde_json::from_str(json).map_err(|error| ConfigError::Text(error.to_string()))?;
        let wrong = |key: &str, value: String, expected: &str| {
            Err(ConfigError::Value { key: key.into(), value, expected: expected.into() })
        };
        if dac.encoder_rates.len() > 8 || dac.encoder_dim > 1 << 14 {
            return wrong("encoder_rates", format!("{:?}", dac.encoder_rates), "at most 8 rates are expected");
        }
        let deepest = dac.encoder_dim << dac.encoder_rates.len();
        let latent = dac.latent_dim.unwrap_or(deepest);
        let mut encoder = vec![LayerConfig::Conv { outputs: dac.encoder_dim, kernel: 7 }];
        for (level, &rate) in dac.encoder_rates.iter().enumerate() {
            encoder.push(LayerConfig::Down { outputs: dac.encoder_dim << (level + 1), rate });
        }
        encoder.extend([LayerConfig::Snake, LayerConfig::Conv { outputs: latent, kernel: 3 }]);
        let mut decoder = vec![LayerConfig::Conv { outputs: dac.decoder_dim, kernel: 7 }];
        for (level, &rate) in dac.decoder_rates.iter().enumerate() {
            decoder.push(LayerConfig::Up { outputs: dac.decoder_dim >> (level + 1), rate });
        }
        decoder.extend([LayerConfig::Snake, LayerConfig::Conv { outputs: 1, kernel: 7 }, LayerConfig::Tanh]);
        let config = Self {
            sample_rate: dac.sample_rate,
            hop: dac.encoder_rates.iter().try_fold(1usize, |hop, &rate| hop.checked_mul(rate)).unwrap_or(0),
            encoder,
            decoder,
            books: dac.n_codebooks,
            quantizer: QuantizerConfig::CosineVq {
                codebook_size: dac.codebook_size,
                codebook_embed_dim: dac.codebook_dim,
            },
        };
        config.check()?;
        Ok(config)
    }
}

/// How a file calls the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// As the fields of the model.
    Own,
    /// As Descript's state dict does.
    Descript,
    /// As Transformers does.
    Transformers,
}

impl Naming {
    pub(super) fn of(weights: &Weights) -> Self {
        let has = |name: &str| weights.get(name).is_some();
        match has("quantizer.quantizers.0.codebook.weight") {
            false => Self::Own,
            true if has("encoder.conv1.weight") => Self::Transformers,
            true => Self::Descript,
        }
    }

    /// The name that a file has for a parameter of the model with this config.
    pub(super) fn stored(self, name: &str, config: &FrameConfig) -> String {
        let name = name.replace(".codebook.embedding.", ".codebook.");
        let side = |levels: usize| levels.saturating_sub(1);
        match self {
            Self::Own => name.replace(".codebook.", ".codebook.embedding."),
            Self::Descript => name,
            Self::Transformers => transformers(&name, side(config.encoder.len()), side(config.decoder.len())),
        }
    }
}

/// Transformers has named fields where the original has lists in lists.
fn transformers(name: &str, encoder_last: usize, decoder_last: usize) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let number = |text: &str| text.parse::<usize>().unwrap_or(0);
    let unit = |index: &str| ["snake1", "conv1", "snake2", "conv2"][number(index) % 4];
    match parts[..] {
        ["encoder", "block", "0", leaf] => format!("encoder.conv1.{leaf}"),
        ["encoder", "block", level, leaf] if number(level) == encoder_last => format!("encoder.conv2.{leaf}"),
        ["encoder", "block", _, leaf] => format!("encoder.snake1.{leaf}"),
        ["encoder", "block", level, "block", place, leaf] => {
            let layer = if place == "3" { "snake1" } else { "conv1" };
            format!("encoder.block.{}.{layer}.{leaf}", number(level) - 1)
        }
        ["encoder", "block", level, "block", place, "block", index, leaf] => {
            let (level, place) = (number(level) - 1, number(place) + 1);
            format!("encoder.block.{level}.res_unit{place}.{}.{leaf}", unit(index))
        }
        ["decoder", "model", "0", leaf] => format!("decoder.conv1.{leaf}"),
        // The last layer, tanh, has no weights.
        ["decoder", "model", level, leaf] if number(level) + 1 == decoder_last => format!("decoder.conv2.{leaf}"),
        ["decoder", "model", _, leaf] => format!("decoder.snake1.{leaf}"),
        ["decoder", "model", level, "block", place, leaf] => {
            let layer = if place == "0" { "snake1" } else { "conv_t1" };
            format!("decoder.block.{}.{layer}.{leaf}", number(level) - 1)
        }
        ["decoder", "model", level, "block", place, "block", index, leaf] => {
            let (level, place) = (number(level) - 1, number(place) - 1);
            format!("decoder.block.{level}.res_unit{place}.{}.{leaf}", unit(index))
        }
        _ => name.to_owned(),
    }
}
