//! A [`Llama`] → a Hugging Face folder.

use std::path::{Path, PathBuf};

use jielong_kernels::{Cpu, Dtype};
use jielong_nn::module::{self, ModuleError, Parameter};
use jielong_nn::write::safetensors::{self, SHARD};
use jielong_nn::write::{Rewrite, WriteError};
use serde_json::Value;

use crate::checkpoint::{block_norms, tensors};
use crate::config::{Config, ConfigError, NormGain, NormPlacement};
use crate::export::{ExportError, differences, hf_config, torch_dtype};
use crate::model::Llama;

/// Why a model was not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The weights are packed for kernels.
    #[error("the weights of this model are packed for the kernels of the CPU: only a model of tensors is saved")]
    Packed,
    /// Safetensors have no such type.
    #[error("a safetensors folder holds f32, f16 and bf16, not {0}")]
    Dtype(Dtype),
    /// The config cannot be said.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A `config.json` cannot say this model.
    #[error("a config.json cannot say this model:\n  {}", .0.join("\n  "))]
    Config(Vec<String>),
    /// What was written as `config.json` is none.
    #[error("the config.json that was to be written: {0}")]
    Read(#[from] ConfigError),
    /// The weights cannot be had.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// A file of weights cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file cannot be written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Llama {
    /// Writes `config.json` and `model.safetensors` into a folder, which is made if it is not there: what
    /// [`Llama::from_folder`] and Transformers read. `dtype` is F32, or F16 or BF16, half the size, for use.
    ///
    /// # Errors
    /// [`SaveError`]; what was written until then stays.
    pub fn save(&self, folder: &Path, dtype: Dtype) -> Result<(), SaveError> {
        if !safetensors::holds(dtype) {
            return Err(SaveError::Dtype(dtype));
        }
        let config = hf_config(&self.config, torch_dtype(dtype))?;
        let text = format!("{:#}\n", Value::Object(config));
        let changed = differences(&self.config, &Config::from_hf(text.as_bytes())?);
        if !changed.is_empty() {
            return Err(SaveError::Config(changed));
        }
        let tensors = self.tensors(dtype)?;
        let path = folder.join("config.json");
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
        written.map_err(|source| SaveError::File { path, source })?;
        Ok(safetensors::write(folder, &tensors, SHARD, &Cpu::new(0), &mut |_| true)?)
    }

    /// All weights under their names in a folder.
    fn tensors(&self, dtype: Dtype) -> Result<Vec<Rewrite>, SaveError> {
        let plus = if self.config.norm_gain == NormGain::OnePlusWeight { -1.0 } else { 0.0 };
        let mut list = Vec::new();
        for Parameter { name, shape, values } in module::values(self)? {
            let name = hf_name(self.config.norms, &name);
            let plus = if name.ends_with("norm.weight") { plus } else { 0.0 };
            list.push(Rewrite::made(&name, &shape, &values).plus(plus).dtype(dtype));
        }
        let all = tensors(&self.config);
        match list.len() == all.len() && all.iter().all(|spec| list.iter().any(|tensor| tensor.name() == spec.name)) {
            true => Ok(list),
            false => Err(SaveError::Packed),
        }
    }
}

/// The Hugging Face name of a parameter, from the fields that lead to it.
fn hf_name(norms: NormPlacement, path: &str) -> String {
    let Some((index, part)) = path.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) else {
        return match path {
            "embedding" => "model.embed_tokens.weight".into(),
            "head.weight" => "lm_head.weight".into(),
            other => format!("model.{other}"),
        };
    };
    let [before, after, before_mlp, after_mlp] = block_norms(norms).map(Option::unwrap_or_default);
    let (stem, kind) = part.rsplit_once('.').unwrap_or((part, "weight"));
    let stem = match stem {
        "attention.before" => before.into(),
        "attention.after" => after.into(),
        "feed_forward.before" => before_mlp.into(),
        "feed_forward.after" => after_mlp.into(),
        "feed_forward.layer.router" => "mlp.gate".into(),
        other => match (other.strip_prefix("attention.layer."), other.strip_prefix("feed_forward.layer.")) {
            (Some(norm), _) if norm.ends_with("norm") => format!("self_attn.{norm}"),
            (Some(linear), _) => format!("self_attn.{linear}_proj"),
            (_, Some(linear)) => format!("mlp.{linear}_proj"),
            _ => other.into(),
        },
    };
    format!("model.layers.{index}.{stem}.{kind}")
}
