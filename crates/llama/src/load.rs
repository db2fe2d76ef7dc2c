//! A checkpoint on disk → a [`Llama`] on a device.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, FloatDType, Tensor};
use jielong_kernels::{CacheType, Cpu, Dtype};
use jielong_nn::load::{self, Packing};
use jielong_nn::weights::{Weights, WeightsError};

use crate::attention::{Attention, Shape};
use crate::checkpoint::{Naming, Place, block_norms, places, tensors};
use crate::config::{Config, ConfigError, QkNorm};
use crate::gguf::{Gguf, GgufError};
use crate::hf::GenerationConfig;
use crate::layers::{FeedForward, Mixture, Mlp, RmsNorm};
use crate::linear::{Linear, Weight};
use crate::model::{Block, Llama, Residual};
use crate::rope::Rope;

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
    fn float(&self) -> FloatDType {
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
        let context = options.context.unwrap_or(config.default_context());
        if context > config.context || context == 0 {
            return Err(LoadError::Context { asked: context, max: config.context });
        }
        let places = places(&config, weights, naming)
            .map_err(|problems| LoadError::Mismatch { path: path.to_path_buf(), problems })?;
        let names = tensors(&config).into_iter().map(|spec| spec.name);
        let origins = names.zip(places.into_iter().map(Origin::Stored)).collect();
        Source { origins, config: &config, options, packed: RefCell::default() }.model(context).map_err(LoadError::from)
    }

    /// A model of this shape with random weights, made in memory: for measuring, without a checkpoint.
    ///
    /// # Errors
    /// [`LoadError::Context`], as [`Llama::from_folder`].
    pub fn random(config: &Config, options: &LoadOptions) -> Result<Self, LoadError> {
        let context = options.context.unwrap_or(config.default_context());
        if context > config.context || context == 0 {
            return Err(LoadError::Context { asked: context, max: config.context });
        }
        let origins = tensors(config).into_iter().map(|spec| (spec.name, Origin::Random(spec.shape))).collect();
        Source { origins, config, options, packed: RefCell::default() }.model(context).map_err(LoadError::from)
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

/// Where a weight comes from.
enum Origin {
    Stored(Place),
    /// A shape.
    Random(Vec<usize>),
}

const EMBEDDING: &str = "model.embed_tokens.weight";

/// Makes tensors of the weights by their Hugging Face names.
struct Source<'a> {
    origins: HashMap<String, Origin>,
    config: &'a Config,
    options: &'a LoadOptions,
    /// What was made for kernels to multiply.
    packed: RefCell<Vec<Arc<load::Weight>>>,
}

impl Source<'_> {
    fn model(&self, context: usize) -> Result<Llama, WeightsError> {
        let c = self.config;
        let device = self.options.compute.device();
        let rope = |rope| Rope::new(rope, context, &device);
        let model = Llama {
            embedding: self.weight(EMBEDDING)?,
            blocks: (0..c.depth()).map(|i| self.block(i)).collect::<Result<_, _>>()?,
            norm: self.norm("model.norm")?,
            head: if c.tied { None } else { Some(self.linear("lm_head")?) },
            config: c.clone(),
            ropes: c.ropes.iter().map(rope).collect(),
            context,
            compute: self.options.compute.clone(),
            packed: self.packed.take(),
        };
        model.turn_aside();
        Ok(model)
    }

    fn block(&self, index: usize) -> Result<Block, WeightsError> {
        let c = self.config;
        let at = |part: &str| format!("model.layers.{index}.{part}");
        let norm = |name: Option<&str>| name.map(|n| self.norm(&at(n))).transpose();
        let [before, after, before_mlp, after_mlp] = block_norms(c.norms);
        let qk_norm = |name: &str| match c.qk_norm {
            QkNorm::No => Ok(None),
            _ => self.norm(&at(name)).map(Some),
        };
        let attention = Attention {
            q: self.linear(&at("self_attn.q_proj"))?,
            k: self.linear(&at("self_attn.k_proj"))?,
            v: self.linear(&at("self_attn.v_proj"))?,
            o: self.linear(&at("self_attn.o_proj"))?,
            q_norm: qk_norm("self_attn.q_norm")?,
            k_norm: qk_norm("self_attn.k_norm")?,
            shape: Shape::from(c),
        };
        let feed_forward = match c.experts.filter(|_| c.layers[index].sparse) {
            None => FeedForward::Dense(self.mlp(&at("mlp"))?),
            Some(sizes) => FeedForward::Sparse(Mixture {
                router: self.linear(&at("mlp.gate"))?,
                experts: (0..sizes.count)
                    .map(|e| self.mlp(&at(&format!("mlp.experts.{e}"))))
                    .collect::<Result<_, _>>()?,
                sizes,
            }),
        };
        Ok(Block {
            attention: self.residual(norm(before)?, attention, norm(after)?),
            feed_forward: self.residual(norm(before_mlp)?, feed_forward, norm(after_mlp)?),
        })
    }

    fn residual<L: Module>(&self, before: Option<RmsNorm>, layer: L, after: Option<RmsNorm>) -> Residual<L> {
        Residual { before, layer, after, scale: self.config.residual_scale }
    }

    fn mlp(&self, name: &str) -> Result<Mlp, WeightsError> {
        Ok(Mlp {
            gate: self.linear(&format!("{name}.gate_proj"))?,
            up: self.linear(&format!("{name}.up_proj"))?,
            down: self.linear(&format!("{name}.down_proj"))?,
            activation: self.config.activation,
        })
    }

    fn norm(&self, name: &str) -> Result<RmsNorm, WeightsError> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        Ok(RmsNorm::new(weight, self.config.norm_gain, self.config.norm_eps))
    }

    /// A linear layer, with the bias if the config has one there.
    fn linear(&self, name: &str) -> Result<Linear, WeightsError> {
        let bias = format!("{name}.bias");
        let bias = if self.origins.contains_key(&bias) { Some(Param::from_tensor(self.tensor(&bias)?)) } else { None };
        Ok(Linear { weight: self.weight(&format!("{name}.weight"))?, bias })
    }

    /// A matrix, in the form of whoever computes.
    fn weight(&self, name: &str) -> Result<Weight, WeightsError> {
        let Compute::Kernels { cpu, packing, .. } = &self.options.compute else {
            return Ok(Weight::Dense(Param::from_tensor(self.tensor(name)?)));
        };
        let matrix = match &self.origins[name] {
            Origin::Stored(place) => load::matrix(&place.view, place.rows(), place.order(), *packing, cpu)?,
            Origin::Random(shape) => {
                let dtype = packing.dtype.unwrap_or(Dtype::BF16);
                load::Weight::fixed(load::random_matrix([shape[0], shape[1]], dtype, packing.layout, cpu))
            }
        };
        let weight = Arc::new(matrix);
        // Of an embedding that is not the head too, single rows are read.
        if self.config.tied || name != EMBEDDING {
            self.packed.borrow_mut().push(Arc::clone(&weight));
        }
        Ok(Weight::packed(weight))
    }

    fn tensor<const D: usize>(&self, name: &str) -> Result<Tensor<D>, WeightsError> {
        let compute = &self.options.compute;
        match &self.origins[name] {
            Origin::Stored(place) => {
                load::tensor(&place.view, place.rows(), place.order(), &compute.device(), compute.float())
            }
            Origin::Random(shape) => {
                let options = (&compute.device(), compute.float().into());
                let dims: [usize; D] = std::array::from_fn(|i| shape[i]);
                Ok(Tensor::random(dims, Distribution::Normal(0.0, load::SPREAD), options))
            }
        }
    }
}
