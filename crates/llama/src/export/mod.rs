//! A checkpoint → the tensors and the config of another: between Hugging Face folders and GGUF files, and to other types.
//!
//! [`tensors`] says what each tensor of the new file is made of; [`gguf_pairs`] and [`hf_config`] say a [`Config`] in the
//! words of either side. What the other side cannot say is found by reading back: [`differences`] of the config that was
//! written and the one that was meant.

mod config;
mod types;

use std::path::Path;

use jielong_kernels::{Dtype, Rows};
use jielong_nn::weights::{TensorView, Weights, WeightsError};
use jielong_nn::write::{Rewrite, safetensors};

use crate::checkpoint::{self, Naming, Place, gguf_name};
use crate::config::{Config, NormGain};
use crate::gguf::Gguf;
use crate::load::LoadError;
use crate::rope::RopeScaling;

pub use config::{differences, gguf_pairs, hf_config, repacked_pairs, torch_dtype};
pub use types::{Types, UnknownTypes};

/// The two ways to store a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A folder of `config.json` and safetensors.
    Folder,
    /// A GGUF file.
    Gguf,
}

/// Where the weights are.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// Those of a Hugging Face folder.
    Folder(&'a Path, &'a Weights),
    /// Those of a GGUF file.
    Gguf(&'a Gguf),
}

impl Origin<'_> {
    /// How it is stored.
    pub fn format(&self) -> Format {
        match self {
            Self::Folder(..) => Format::Folder,
            Self::Gguf(_) => Format::Gguf,
        }
    }

    fn weights(&self) -> &Weights {
        match self {
            Self::Folder(_, weights) => weights,
            Self::Gguf(gguf) => gguf.weights(),
        }
    }

    fn naming(&self) -> Naming {
        match self {
            Self::Folder(..) => Naming::HuggingFace,
            Self::Gguf(_) => Naming::Gguf,
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Folder(path, _) => path,
            Self::Gguf(gguf) => gguf.path(),
        }
    }
}

/// What a conversion cannot do.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The checkpoint is not one of this config.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A tensor is not one of weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// GGUF has another way to say this family, or none.
    #[error("a GGUF file of a {family} model is not written; llama, mistral, qwen2, qwen3 and gemma3 are")]
    Family {
        /// The family.
        family: String,
    },
    /// Safetensors have no such type.
    #[error("a safetensors folder holds f32, f16 and bf16, not {types}; name an OUT that ends in .gguf")]
    Types {
        /// What was asked for.
        types: Types,
    },
    /// Divisors of the frequencies that no `rope_scaling` makes.
    #[error("`rope_freqs.weight` holds divisors that no `rope_scaling` of a config.json gives")]
    Divisors,
}

/// Every tensor of the new file. Types not given are those stored; what safetensors do not hold becomes F32 there.
///
/// # Errors
/// [`ExportError`]: tensors that do not fit the config, all at once; a type that the format does not have.
pub fn tensors(config: &Config, origin: Origin, to: Format, types: Option<Types>) -> Result<Vec<Rewrite>, ExportError> {
    let places = checkpoint::places(config, origin.weights(), origin.naming())
        .map_err(|problems| LoadError::Mismatch { path: origin.path().to_path_buf(), problems })?;
    if let Some(types) = types.filter(|types| to == Format::Folder && !types.plain()) {
        return Err(ExportError::Types { types });
    }
    let typed = |rewrite: Rewrite| {
        let dtype = types::of(&rewrite, config, to, types);
        rewrite.dtype(dtype)
    };
    if origin.format() == to {
        // Names and rows stay as they are.
        let stored = origin.weights().iter().map(|view: &TensorView| Ok(typed(Rewrite::new(view.name(), view)?)));
        return stored.collect();
    }
    let mut list = Vec::new();
    for (spec, place) in checkpoint::tensors(config).iter().zip(&places) {
        let name = match to {
            Format::Folder => spec.name.clone(),
            Format::Gguf => gguf_name(config, &spec.name),
        };
        let rewrite = Rewrite::new(name, &place.view)?.rows(place.rows());
        let rewrite = match rows(config, &spec.name, place, to) {
            (Rows::AsStored, _) => rewrite,
            (order, Format::Folder) => rewrite.order(|row| order.stored(row)),
            (order, Format::Gguf) => rewrite.order(|row| order.used(row)),
        };
        // Gemma's checkpoints hold the gain less one, its GGUF files the gain.
        let gain = match (spec.name.ends_with("norm.weight"), to) {
            (true, Format::Gguf) if config.norm_gain == NormGain::OnePlusWeight => 1.0,
            (true, Format::Folder) if config.family == "gemma3" => -1.0,
            _ => 0.0,
        };
        list.push(typed(rewrite.plus(gain)));
    }
    if let (Format::Gguf, Some(rope)) = (to, config.ropes.first())
        && matches!(rope.scaling, RopeScaling::Llama3 { .. })
    {
        let divisors = rope.divisors();
        list.push(Rewrite::made("rope_freqs.weight", &[divisors.len()], &divisors));
    }
    Ok(list)
}

/// In which order a weight's rows are on the GGUF side, and where they go.
fn rows(config: &Config, name: &str, place: &Place, to: Format) -> (Rows, Format) {
    let llama = matches!(config.family.as_str(), "llama" | "mistral");
    match checkpoint::rotary_heads(config, name).filter(|_| llama && to == Format::Gguf) {
        Some(heads) => (Rows::Interleaved { head: place.shape[0] / heads }, to),
        None => (place.order(), to),
    }
}

/// The widest of the types that tensors are written in: what a `config.json` names.
pub fn widest(tensors: &[Rewrite]) -> Dtype {
    let matrices = tensors.iter().filter(|tensor| tensor.shape().len() > 1).map(Rewrite::written);
    matrices.filter(|&dtype| safetensors::holds(dtype)).max_by_key(|dtype| dtype.block_bytes()).unwrap_or(Dtype::F32)
}
