//! Which model, and how it is loaded.

use anyhow::{Context, Result, bail};
use clap::Args;
use jielong::pipeline::{Pipeline, Settings};
use jielong::sources::{self, LocalModel};
use jielong_nn::device::{DeviceChoice, FloatDType};

use super::{Global, progress};

/// The model of those who name none.
const DEFAULT_MODEL: &str = "smollm2";

/// The model by its name.
#[derive(Args, Clone, Debug, Default)]
pub struct ModelName {
    /// An alias (see `jielong list`), a Hugging Face id, a folder or a GGUF file
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
    /// Type of the weights: f32, f16 or bf16 (default: what is best on the device)
    #[arg(long, value_name = "TYPE", help_heading = "Model")]
    dtype: Option<String>,
    /// Positions of the context (default: those of the model)
    #[arg(long, value_name = "N", help_heading = "Model")]
    context: Option<usize>,
    /// Threads for computing on the CPU (default: all cores)
    #[arg(long, value_name = "N", help_heading = "Model")]
    threads: Option<usize>,
}

impl ModelArgs {
    /// The model, loaded.
    pub fn pipeline(&self, global: &Global) -> Result<Pipeline> {
        let local = self.name.local(global)?;
        if let Some(threads) = self.threads.or(global.user.threads) {
            if threads == 0 {
                bail!("--threads 0: at least one is needed");
            }
            rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("--threads")?;
        }
        let device = match (self.device, &global.user.device) {
            (Some(device), _) => device,
            (None, Some(name)) => name.parse().context("`device` of the config file")?,
            (None, None) => DeviceChoice::Auto,
        };
        let dtype = match self.dtype.as_deref().or(global.user.dtype.as_deref()) {
            None | Some("auto") => None,
            Some("f32") => Some(FloatDType::F32),
            Some("f16") => Some(FloatDType::F16),
            Some("bf16") => Some(FloatDType::BF16),
            Some(other) => bail!("--dtype {other}: expected f32, f16 or bf16"),
        };
        let settings = Settings { device, dtype, context: self.context.or(global.user.context) };
        Pipeline::open(&local, &settings)
    }
}
