//! In which type each tensor is written.

use std::fmt;
use std::str::FromStr;

use jielong_kernels::Dtype;
use jielong_nn::write::{Rewrite, safetensors};

use super::Format;
use crate::config::Config;

/// Types of a file's matrices. Vectors stay f32 in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Types {
    /// One for all.
    One(Dtype),
    /// llama.cpp's "medium" mixture: this type, and Q6_K where an error costs most.
    Medium(Dtype),
}

impl Types {
    /// Whether safetensors hold them.
    pub(super) fn plain(self) -> bool {
        matches!(self, Self::One(dtype) if safetensors::holds(dtype))
    }

    /// llama.cpp's number of it, `general.file_type`.
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::One(dtype) => match dtype {
                Dtype::F32 => 0,
                Dtype::F16 => 1,
                Dtype::Q4_0 => 2,
                Dtype::Q4_1 => 3,
                Dtype::Q8_0 => 7,
                Dtype::Q5_0 => 8,
                Dtype::Q5_1 => 9,
                Dtype::Q4_K => 14,
                Dtype::Q5_K => 16,
                Dtype::Q6_K => 18,
                Dtype::BF16 => 32,
            },
            Self::Medium(Dtype::Q5_K) => 17,
            Self::Medium(_) => 15,
        }
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::One(dtype) => write!(f, "{}", dtype.name().to_ascii_lowercase()),
            Self::Medium(dtype) => write!(f, "{}_m", dtype.name().to_ascii_lowercase()),
        }
    }
}

/// Not the name of a type or a mixture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}, q4_k_m or q5_k_m")]
pub struct UnknownTypes(jielong_kernels::UnknownDtype);

impl FromStr for Types {
    type Err = UnknownTypes;

    /// GGML's name of a type, or `q4_k_m`, `q5_k_m`.
    fn from_str(name: &str) -> Result<Self, UnknownTypes> {
        match name.to_ascii_lowercase().as_str() {
            "q4_k_m" => Ok(Self::Medium(Dtype::Q4_K)),
            "q5_k_m" => Ok(Self::Medium(Dtype::Q5_K)),
            name => name.parse().map(Self::One).map_err(UnknownTypes),
        }
    }
}

/// The type of a tensor with its new name.
pub(super) fn of(tensor: &Rewrite, config: &Config, to: Format, types: Option<Types>) -> Dtype {
    let stored = tensor.written();
    match (to, types) {
        (Format::Folder, None) if safetensors::holds(stored) => stored,
        (Format::Folder, None) => Dtype::F32,
        (Format::Gguf, _) if tensor.shape().len() < 2 => Dtype::F32,
        (Format::Gguf, None) => stored,
        (_, Some(Types::One(dtype))) => dtype,
        (_, Some(Types::Medium(dtype))) => medium(tensor.name(), config, dtype),
    }
}

/// llama.cpp's rule for `Q4_K_M` and `Q5_K_M`: Q6_K for the head and, in the first and last eighth of the layers and in every
/// third between, for the values and what leads out of the feed-forward layer.
fn medium(name: &str, config: &Config, dtype: Dtype) -> Dtype {
    let head = if config.tied { "token_embd.weight" } else { "output.weight" };
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    let more = match layer {
        None => name == head,
        Some((index, part)) => {
            let (index, depth) = (index.parse::<usize>().unwrap_or(0), config.depth());
            let first = depth / 8;
            let chosen = index < first || index >= 7 * depth / 8 || (index - first) % 3 == 2;
            chosen && matches!(part, "attn_v.weight" | "ffn_down.weight")
        }
    };
    if more { Dtype::Q6_K } else { dtype }
}
