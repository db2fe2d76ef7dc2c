//! A checkpoint on disk → a [`Llama`] on a device.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, FloatDType};
use jielong_kernels::{CacheType, Cpu};
use jielong_nn::load::Packing;
use jielong_nn::weights::{Weights, WeightsError};

use crate::checkpoint::{Naming, places, tensors};
use crate::config::{Config, ConfigError};
use crate::generation::GenerationConfig;
use crate::gguf::{Gguf, GgufError};
use crate::model::Llama;
use crate::source::{Origin, Source};

/// Who computes, and in which types.
#[derive(Clone, Debug)]
pub enum Compute {
    /// The kernels of the CPU.
    Kernels {
        /// Threads and instructions.
        cpu: Arc<Cpu>,
        /// Types of the matrices, and where they are.
        packing: Packing,
        /// Type of the cache.
        cache: CacheType,
    },
    /// Burn's own operations, with weights and cache of one type.
    Burn {
        /// Where.
        device: Device,
        /// Type of weights and cache.
        dtype: FloatDType,
    },
}

impl Compute {
    /// The kernels on all cores, weights of the types they are stored in, an exact cache.
    pub fn kernels() -> Self {
        Self::Kernels { cpu: Arc::new(Cpu::new(0)), packing: Packing::default(), cache: CacheType::F32 }
    }

    /// The processor, where its kernels compute.
    pub(crate) fn cpu(&self) -> Option<&Cpu> {
        match self {
            Self::Kernels { cpu, .. } => Some(cpu),
            Self::Burn { .. } => None,
        }
    }

    /// Where the tensors are.
    pub(crate) fn device(&self) -> Device {
        match self {
            Self::Kernels { .. } => Device::flex(),
            Self::Burn { device, .. } => device.clone(),
        }
    }

    /// Type of the tensors.
    pub(crate) fn float(&self) -> FloatDType {
        match self {
            Self::Kernels { .. } => FloatDType::F32,
            Self::Burn { dtype, .. } => *dtype,
        }
    }
}

/// How to load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Who computes.
    pub compute: Compute,
    /// Positions a state may hold; [`Config::default_context`] if `None`.
    pub context: Option<usize>,
}

impl LoadOptions {
    /// Positions a state may hold of a model with this config.
    pub(crate) fn context_of(&self, config: &Config) -> Result<usize, LoadError> {
        let context = self.context.unwrap_or(config.default_context());
        if context > config.context || context == 0 {
            return Err(LoadError::Context { asked: context, max: config.context });
        }
        Ok(context)
    }
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The config is not one of this transformer.
    #[error("{path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// A file of weights is damaged.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A GGUF file is damaged.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// Weights and config do not agree.
    #[error("{path} does not fit its config:\n  {}", problems.join("\n  "))]
    Mismatch {
        /// The folder or file.
        path: PathBuf,
        /// Everything that is wrong, a line each.
        problems: Vec<String>,
    },
    /// Fewer tokens were asked for than the checkpoint has.
    #[error("{path} has a vocabulary of {found} tokens, {asked} were asked for; as many or more are needed")]
    Smaller {
        /// The folder.
        path: PathBuf,
        /// Tokens asked for.
        asked: usize,
        /// Tokens of the checkpoint.
        found: usize,
    },
    /// More positions were asked for than the model was made for.
    #[error("a context of {asked} was asked for, the model was made for {max}")]
    Context {
        /// Positions asked for.
        asked: usize,
        /// Positions the model was made for.
        max: usize,
    },
}

impl Llama {
    /// Loads a Hugging Face folder: `config.json` and `model*.safetensors`.
    ///
    /// # Errors
    /// [`LoadError`], before anything is computed; all tensors that are wrong are named at once.
    pub fn from_folder(folder: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let config = read_config(folder)?;
        let weights = Weights::open_safetensors(folder)?;
        Self::from_weights(config, &weights, Naming::HuggingFace, folder, options)
    }

    /// Loads an opened GGUF file.
    ///
    /// # Errors
    /// As [`Llama::from_folder`].
    pub fn from_gguf(gguf: &Gguf, options: &LoadOptions) -> Result<Self, LoadError> {
        let config =
            Config::from_gguf(gguf).map_err(|source| LoadError::Config { path: gguf.path().to_path_buf(), source })?;
        Self::from_weights(config, gguf.weights(), Naming::Gguf, gguf.path(), options)
    }

    fn from_weights(
        config: Config,
        weights: &Weights,
        naming: Naming,
        path: &Path,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        let context = options.context_of(&config)?;
        let places = places(&config, weights, naming)
            .map_err(|problems| LoadError::Mismatch { path: path.to_path_buf(), problems })?;
        let names = tensors(&config).into_iter().map(|spec| spec.name);
        let origins = names.zip(places.into_iter().map(Origin::Stored)).collect();
        Ok(Source::new(origins, &config, options).model(context)?)
    }

    /// A model of this shape with random weights, made in memory: for measuring, without a checkpoint.
    ///
    /// # Errors
    /// [`LoadError::Context`], as [`Llama::from_folder`].
    pub fn random(config: &Config, options: &LoadOptions) -> Result<Self, LoadError> {
        let context = options.context_of(config)?;
        let origins = tensors(config).into_iter().map(|spec| (spec.name, Origin::Random(spec.shape))).collect();
        Ok(Source::new(origins, config, options).model(context)?)
    }
}

/// The config of a Hugging Face folder, with the end tokens of its `generation_config.json` added.
///
/// # Errors
/// [`LoadError::Read`] and [`LoadError::Config`], with the file.
pub fn read_config(folder: &Path) -> Result<Config, LoadError> {
    let path = folder.join("config.json");
    let json = std::fs::read(&path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
    let mut config = Config::from_hf(&json).map_err(|source| LoadError::Config { path, source })?;
    let generation = read_generation(folder)?;
    config.eos.extend(generation.eos.iter().filter(|t| !config.eos.contains(t)).copied().collect::<Vec<_>>());
    let path = folder.join("generation_config.json");
    config.check().map_err(|source| LoadError::Config { path, source })?;
    Ok(config)
}

/// The `generation_config.json` of a Hugging Face folder; nothing set if there is none.
///
/// # Errors
/// As [`read_config`].
pub fn read_generation(folder: &Path) -> Result<GenerationConfig, LoadError> {
    let path = folder.join("generation_config.json");
    match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(GenerationConfig::default()),
        Err(source) => Err(LoadError::Read { path, source }),
        Ok(json) => GenerationConfig::from_json(&json).map_err(|source| LoadError::Config { path, source }),
    }
}
