//! A config and a file of weights → a codec, and back.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use jielong_nn::module::{self, ModuleError};
use jielong_nn::weights::{Weights, WeightsError};

use super::config::{ConfigError, FrameConfig};
use super::dac::Naming;
use super::{FrameCodec, FrameModel};

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

impl FrameConfig {
    /// Reads and checks a file: TOML, or the `config.json` of Descript's codec.
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
        let json = path.extension().is_some_and(|ending| ending == "json");
        let config = if json { Self::dac(&text) } else { Self::from_toml(&text) };
        config.map_err(|source| LoadError::Config { path: path.to_path_buf(), source })
    }
}

impl FrameModel {
    /// The model with stored weights: of [`save`](Self::save), of Descript's codec, or of Transformers' form of that.
    ///
    /// # Errors
    /// [`ModuleError`], before anything is computed; all tensors that are wrong are named at once.
    pub fn from_weights(config: &FrameConfig, weights: &Weights, device: &Device) -> Result<Self, ModuleError> {
        let naming = Naming::of(weights);
        module::load_as(Self::new(config, device), weights, |name| naming.stored(name, config), |_| false)
    }

    /// Writes the weights as f32 safetensors.
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

impl FrameCodec {
    /// A codec of a model, on its device, without gradients.
    #[must_use]
    pub fn new(config: &FrameConfig, model: &FrameModel, device: &Device) -> Self {
        let books = vec![config.quantizer.codes() as u32; config.books]; // checked to be few
        Self { model: model.valid(), device: device.clone(), config: config.clone(), books }
    }

    /// Loads a config and a file of weights: safetensors, or a file of `torch.save`.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn open(config: &Path, weights: &Path, device: &Device) -> Result<Self, LoadError> {
        let config = FrameConfig::open(config)?;
        let stored = Weights::open(weights)?;
        let model = FrameModel::from_weights(&config, &stored, device)
            .map_err(|source| LoadError::Model { path: weights.to_path_buf(), source })?;
        Ok(Self::new(&config, &model, device))
    }
}
