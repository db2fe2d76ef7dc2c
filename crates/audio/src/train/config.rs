//! How a codec is trained, as data: `configs/train/*.toml`.

use std::path::{Path, PathBuf};

use jielong_nn::train::{AdamWConfig, Plan};
use serde::{Deserialize, Serialize};

use super::critic::CriticConfig;
use super::loss::Weights;

/// A run of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// What is trained.
    pub kind: Kind,
    /// The config of the codec; a path that is not absolute begins at the folder of this config.
    pub codec: PathBuf,
    /// The folder of the run; a path that is not absolute begins at the working directory.
    pub out: PathBuf,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    #[serde(default = "auto")]
    pub device: String,
    /// What is learned from.
    pub data: DataConfig,
    /// How long, how fast, how often.
    pub plan: Plan,
    /// AdamW.
    #[serde(default)]
    pub optimiser: AdamWConfig,
    /// How much of the mean weights stays in a step; 0: no mean, the last weights are the result.
    #[serde(default)]
    pub average: f64,
    /// What the sum of losses is made of.
    #[serde(default)]
    pub loss: Weights,
    /// Windows and mel bands that recordings are compared through.
    #[serde(default = "scales")]
    pub scales: Vec<(usize, usize)>,
    /// Share of the steps that use only some of the books, by chance.
    #[serde(default)]
    pub dropout: f64,
    /// Networks that learn to tell recordings from reconstructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critic: Option<CriticConfig>,
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A codec for sound.
    AudioCodec,
}

/// What is learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The name of a data set, or a folder of recordings.
    pub source: String,
    /// Samples of the pieces that are learned from: whole frames, and whole quarters of all windows.
    pub samples: usize,
    /// The most that a piece is made louder or softer, in dB.
    #[serde(default)]
    pub gain: f64,
    /// The most held-out recordings that an evaluation scores; they are spread over all.
    #[serde(default = "scored")]
    pub scored: usize,
}

fn auto() -> String {
    "auto".into()
}

fn scored() -> usize {
    128
}

fn scales() -> Vec<(usize, usize)> {
    vec![(256, 40), (512, 64), (1024, 80), (2048, 80)]
}

/// A config that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrainingConfigError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, or not these keys.
    #[error("{path}: {problem}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
}

impl TrainingConfig {
    /// Reads a config. Its values are checked where they are used.
    ///
    /// # Errors
    /// [`TrainingConfigError`], with the file.
    pub fn open(path: &Path) -> Result<Self, TrainingConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TrainingConfigError::Read { path: path.to_path_buf(), source })?;
        let config: Result<Self, _> = toml::from_str(&text);
        let mut config = config.map_err(|error| TrainingConfigError::Toml {
            path: path.to_path_buf(),
            problem: error.to_string().trim_end().into(),
        })?;
        config.codec = path.parent().unwrap_or(Path::new("")).join(&config.codec);
        Ok(config)
    }
}
