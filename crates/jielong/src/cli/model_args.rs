//! Which model, and how it is loaded.

use anyhow::{Context, Result, bail};
use clap::Args;
use jielong::pipeline::{Pipeline, Settings};
use jielong::sources::{self, LocalModel};
use jielong_kernels::{CacheType, Layout};
use jielong_nn::device::DeviceChoice;

use super::{Global, progress};

/// The model of those who name none.
const DEFAULT_MODEL: &str = "smollm2";

/// The model by its name.
#[derive(Args, Clone, Debug, Default)]
pub struct ModelName {
    /// An alias (see `jielong list`), a Hugging Face id, a folder or a GGUF file (default: smollm2, or mini for pictures and
    /// sounds)
    #[arg(short, long, value_name = "NAME", help_heading = "Model")]
    model: Option<String>,
}

impl ModelName {
    /// The model, fetched if it is not here.
    pub fn local(&self, global: &Global) -> Result<LocalModel> {
        let name = self.model.as_deref().or(global.user.model.as_deref()).unwrap_or(DEFAULT_MODEL);
        pull(name, global)
    }
}

/// Finds a model by name, and fetches it if it is not here.
pub fn pull(name: &str, global: &Global) -> Result<LocalModel> {
    Ok(sources::pull(name, &global.sources, &progress::Fetch::new(global))?)
}

/// The model and how it is loaded.
#[derive(Args, Clone, Debug, Default)]
pub struct ModelArgs {
    #[command(flatten)]
    name: ModelName,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", help_heading = "Model")]
    device: Option<DeviceChoice>,
    /// Compute with weights of this type: f32, f16, bf16 or one that --quantize takes (default: as they are stored)
    #[arg(long, value_name = "TYPE", help_heading = "Model")]
    dtype: Option<String>,
    /// Pack the weights while loading: q8_0, q6_k, q5_k, q4_k, q5_1, q5_0, q4_1 or q4_0
    #[arg(long, value_name = "TYPE", help_heading = "Model", conflicts_with = "dtype")]
    quantize: Option<String>,
    /// Leave quantised weights where they are mapped, rather than in an order of memory that is faster to compute with
    #[arg(long, help_heading = "Model")]
    mapped: bool,
    /// Type of the cache of keys and values on the CPU: f32, f16 or q8
    #[arg(long, value_name = "TYPE", help_heading = "Model")]
    cache: Option<CacheType>,
    /// Positions of the context (default: those of the model)
    #[arg(long, value_name = "N", help_heading = "Model")]
    context: Option<usize>,
    /// Threads for computing on the CPU (default: one for each physical core)
    #[arg(long, value_name = "N", help_heading = "Model")]
    threads: Option<usize>,
}

impl ModelArgs {
    /// The model that the user names here.
    pub fn named(&self) -> Option<&str> {
        self.name.model.as_deref()
    }

    /// The model, loaded.
    pub fn pipeline(&self, global: &Global) -> Result<Pipeline> {
        let local = self.name.local(global)?;
        Pipeline::open(&local, &self.settings(global)?)
    }

    /// The model's name as it was given.
    pub fn local(&self, global: &Global) -> Result<LocalModel> {
        self.name.local(global)
    }

    /// How it is loaded.
    pub fn settings(&self, global: &Global) -> Result<Settings> {
        let threads = self.threads.or(global.user.threads);
        match threads {
            Some(0) => bail!("--threads 0: at least one is needed"),
            Some(threads) => {
                rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("--threads")?
            }
            None => {}
        }
        let device = match (self.device, &global.user.device) {
            (Some(device), _) => device,
            (None, Some(name)) => name.parse().context("`device` of the config file")?,
            (None, None) => DeviceChoice::Auto,
        };
        let dtype = match (&self.quantize, self.dtype.as_ref().or(global.user.dtype.as_ref())) {
            (Some(name), _) => Some(name.parse().context("--quantize")?),
            (None, Some(name)) if name != "auto" => Some(name.parse().context("--dtype")?),
            _ => None,
        };
        let (context, cache) = (self.context.or(global.user.context), self.cache.unwrap_or_default());
        let layout = if self.mapped { Layout::Mapped } else { Layout::Turned };
        Ok(Settings { device, dtype, layout, cache, threads: threads.unwrap_or(0), cpu: None, context })
    }
}
