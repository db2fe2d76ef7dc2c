//! The one decoder-only transformer: its shape as data, its weights from Hugging Face folders and GGUF files, its cache.
//!
//! [`Llama`] implements [`jielong_core::Model`]; [`KvCache`] is its state. Near-Llama families are values of [`Config`],
//! never copies of the model.

#![recursion_limit = "256"]

mod arch;
mod attention;
mod cache;
mod checkpoint;
mod config;
pub mod export;
mod generation;
pub mod gguf;
mod hf;
mod hf_rope;
mod layers;
mod linear;
mod load;
mod model;
mod new;
mod rope;
mod save;
mod shape;
mod source;
pub mod train;

pub use arch::ARCHITECTURES;
pub use cache::KvCache;
pub use config::{Activation, Bias, Config, ConfigError, Experts, Layer, NormGain, NormPlacement, QkNorm};
pub use generation::GenerationConfig;
pub use gguf::Gguf;
pub use hf::FAMILIES;
pub use load::{Compute, LoadError, LoadOptions, read_config, read_generation};
pub use model::Llama;
pub use new::TokenVectors;
pub use rope::{RopeConfig, RopeScaling};
pub use save::SaveError;
