//! A config and a file of weights → a codec, and back.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use jielong_nn::module::{self, ModuleError};
use jielong_nn::weights::{Weights, WeightsError};

use super::config::{ConfigError, VqConfig};
use super::{VqCodec, VqModel};

/// The largest config read.
const LARGEST: u64 = 1 << 20;

/// Why a codec cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The config cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The config is not one of this codec.
    #[error("{path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// The file of weights is damaged.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Weights and config do not agree.
    #[error("{path}: {source}")]
    Model {
        /// The file or folder of the weights.
        path: PathBuf,
        /// Everything that is wrong.
        source: ModuleError,
    },
}

impl VqConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`LoadError::Read`] and [`LoadError::Config`], with the file.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let read = || -> io::Result<String> {
            let mut text = String::new();
            std::fs::File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
            Ok(text)
        };
        let text = read().map_err(|source| LoadError::Read { path: path.to_path_buf(), source })?;
        Self::from_toml(&text).map_err(|source| LoadError::Config { path: path.to_path_buf(), source })
    }
}

impl VqModel {
    /// The model with the weights of a checkpoint of LlamaGen, or of [`save`](Self::save). Its count of used codes is passed
    /// over.
    ///
    /// # Errors
    /// [`ModuleError`], before anything is computed; all tensors that are wrong are named at once.
    pub fn from_weights(config: &VqConfig, weights: &Weights, device: &Device) -> Result<Self, ModuleError> {
        module::load(Self::new(config, device), weights, |name| name == "quantize.codebook_used")
    }

    /// Writes the weights as f32 safetensors under LlamaGen's names.
    ///
    /// # Errors
    /// [`ModuleError::Write`]; a file that was there is then as it was.
    pub fn save(&self, path: &Path) -> Result<(), ModuleError> {
        module::save(self, path)
    }

    /// Writes the weights as f16, for use: half the size.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_f16(&self, path: &Path) -> Result<(), ModuleError> {
        module::save_f16(self, path)
    }
}

impl VqCodec {
    /// Opens a config and weights: a safetensors file or folder, or a file of `torch.save`.
    ///
    /// # Errors
    /// [`LoadError`], before anything is computed.
    pub fn open(config: &Path, weights: &Path, device: &Device) -> Result<Self, LoadError> {
        let config = VqConfig::open(config)?;
        let stored = Weights::open(weights)?;
        let model = VqModel::from_weights(&config, &stored, device);
        let model = model.map_err(|source| LoadError::Model { path: weights.to_path_buf(), source })?;
        Ok(Self::new(&config, &model, device))
    }

    /// A codec of a model with this config on this device; a model in training is used as it is now.
    #[must_use]
    pub fn new(config: &VqConfig, model: &VqModel, device: &Device) -> Self {
        let books = vec![config.quantizer.codes() as u32]; // checked to be few
        Self { model: model.valid(), device: device.clone(), patch: config.patch(), books }
    }
}
