//! How a codec is trained, as data: `configs/train/*.toml`.

use std::path::{Path, PathBuf};

use jielong_nn::factors::FactorsConfig;
use jielong_nn::train::{AdamWConfig, Plan};
use serde::{Deserialize, Serialize};

use super::augment::Changes;
use super::critic::CriticConfig;
use super::loss::Weights;
use super::upkeep::UpkeepConfig;

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
    /// In which type the CPU multiplies: `f32`, or `bf16`, up to twice as fast where the processor has it.
    #[serde(default)]
    pub factors: FactorsConfig,
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
    /// Random changes of pictures.
    #[serde(default)]
    pub changes: Changes,
    /// Codes that nothing uses; for a learned book.
    #[serde(default)]
    pub upkeep: UpkeepConfig,
    /// A second network that learns to tell pictures from reconstructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critic: Option<CriticConfig>,
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A codec for pictures.
    ImageCodec,
}

/// What is learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The name of a data set, or a folder of pictures.
    pub source: String,
    /// Rows and columns of the pictures, whole patches.
    pub size: usize,
    /// The most held-out pictures that an evaluation scores; they are spread over all.
    #[serde(default = "scored")]
    pub scored: usize,
}

fn auto() -> String {
    "auto".into()
}

fn scored() -> usize {
    512
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
