//! Vectors → codes and back, with a gradient across.
//!
//! [`Vq`]: the nearest vector of a learned book (van den Oord et al. 2017), at length one where the config says so (Yu et al.
//! 2021, *Vector-quantized image modeling with improved VQGAN*): then the nearest has the largest cosine, one product of
//! matrices away. [`Fsq`]: no book; each number is squashed and rounded to one of a few levels (Mentzer et al. 2023, *Finite
//! scalar quantization*, appendix A.1). Gradients pass the rounding unchanged (Bengio et al. 2013, straight-through).

mod fsq;
mod vq;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::module::ModuleError;

pub use fsq::Fsq;
use vq::Lookup;
pub use vq::Vq;

/// Sizes beyond these are no quantiser.
const WIDEST: usize = 1 << 14;
const MOST_CODES: usize = 1 << 24;

/// Shape of a quantiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum QuantizerConfig {
    /// The nearest of a book of learned vectors (van den Oord et al. 2017).
    Vq {
        /// Vectors of the book.
        codebook_size: usize,
        /// Width of a vector.
        codebook_embed_dim: usize,
        /// Vectors are compared, and are, of length one (Yu et al. 2021).
        codebook_l2_norm: bool,
    },
    /// The one at the smallest angle in a book of learned vectors of any length (Kumar et al. 2023, §3.2).
    CosineVq {
        /// Vectors of the book.
        codebook_size: usize,
        /// Width of a vector.
        codebook_embed_dim: usize,
    },
    /// Each number rounded to one of a few levels (Mentzer et al. 2023).
    Fsq {
        /// Levels of each number.
        levels: Vec<usize>,
    },
}

/// A value that no quantiser has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` = {value}; {expected}")]
pub struct QuantizerError {
    /// The key.
    pub key: &'static str,
    /// The value found.
    pub value: String,
    /// What is expected.
    pub expected: String,
}

impl QuantizerConfig {
    /// Refuses sizes that no machine can hold.
    ///
    /// # Errors
    /// [`QuantizerError`].
    pub fn check(&self) -> Result<(), QuantizerError> {
        let within = |key, found: usize, most: usize| match (1..=most).contains(&found) {
            true => Ok(()),
            false => {
                let expected = format!("a number between 1 and {most} is expected");
                Err(QuantizerError { key, value: found.to_string(), expected })
            }
        };
        match self {
            Self::Vq { codebook_size, codebook_embed_dim, .. }
            | Self::CosineVq { codebook_size, codebook_embed_dim } => {
                within("codebook_size", *codebook_size, MOST_CODES)?;
                within("codebook_embed_dim", *codebook_embed_dim, WIDEST)
            }
            Self::Fsq { levels } => {
                let codes =
                    levels.iter().try_fold(1usize, |codes, &n| codes.checked_mul(n).filter(|&c| c <= MOST_CODES));
                if levels.is_empty() || levels.iter().any(|&n| n < 2) || codes.is_none() {
                    let expected = format!("numbers from 2 on are expected, whose product is at most {MOST_CODES}");
                    return Err(QuantizerError { key: "levels", value: format!("{levels:?}"), expected });
                }
                Ok(())
            }
        }
    }

    /// How many codes there are.
    #[must_use]
    pub fn codes(&self) -> usize {
        match self {
            Self::Vq { codebook_size, .. } | Self::CosineVq { codebook_size, .. } => *codebook_size,
            Self::Fsq { levels } => levels.iter().product(),
        }
    }

    /// Width of a vector that becomes a code.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Vq { codebook_embed_dim, .. } | Self::CosineVq { codebook_embed_dim, .. } => *codebook_embed_dim,
            Self::Fsq { levels } => levels.len(),
        }
    }
}

/// What makes codes of vectors.
#[derive(Module, Debug)]
pub enum Quantizer {
    /// With a book.
    Vq(Vq),
    /// Without.
    Fsq(Fsq),
}

/// Vectors as codes, for training.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// What was quantised, without its gradient, as it is compared with the book: `[n, width]`.
    pub inputs: Tensor<2>,
    /// The vectors of the codes, `[n, width]`; backward, the vectors that were quantised.
    pub vectors: Tensor<2>,
    /// Codes, `[n]`.
    pub codes: Tensor<1, Int>,
    /// Mean square distance that moves the book towards the vectors; 0 without a book.
    pub codebook_loss: Tensor<1>,
    /// Mean square distance that moves the vectors towards the book; 0 without a book. The papers add it with a weight of
    /// 0.25.
    pub commitment_loss: Tensor<1>,
}

impl Quantizer {
    /// A new quantiser.
    #[must_use]
    pub fn new(config: &QuantizerConfig, device: &Device) -> Self {
        match config {
            QuantizerConfig::Vq { codebook_size, codebook_embed_dim, codebook_l2_norm } => {
                let lookup = if *codebook_l2_norm { Lookup::Unit } else { Lookup::Distance };
                Self::Vq(Vq::new([*codebook_size, *codebook_embed_dim], lookup, device))
            }
            QuantizerConfig::CosineVq { codebook_size, codebook_embed_dim } => {
                Self::Vq(Vq::new([*codebook_size, *codebook_embed_dim], Lookup::Cosine, device))
            }
            QuantizerConfig::Fsq { levels } => Self::Fsq(Fsq::new(levels.clone())),
        }
    }

    /// Codes and what training needs, of `[n, width]`.
    #[must_use]
    pub fn forward(&self, z: Tensor<2>) -> Quantized {
        match self {
            Self::Vq(vq) => vq.forward(z),
            Self::Fsq(fsq) => fsq.forward(z),
        }
    }

    /// The quantiser with other vectors for these codes; one without a book stays.
    #[must_use]
    pub fn with_vectors(self, codes: Tensor<1, Int>, vectors: Tensor<2>) -> Self {
        match self {
            Self::Vq(vq) => Self::Vq(vq.with_vectors(codes, vectors)),
            other => other,
        }
    }

    /// The vectors of all codes.
    ///
    /// # Errors
    /// [`ModuleError::Compute`].
    pub fn book(&self) -> Result<Vec<Vec<f32>>, ModuleError> {
        let book = match self {
            Self::Vq(vq) => vq.book(),
            Self::Fsq(fsq) => fsq.book(),
        };
        let [_, width] = book.dims();
        let values = book.try_into_vec_as::<f32>().map_err(|error| ModuleError::Compute(error.to_string()))?;
        Ok(values.chunks(width).map(<[f32]>::to_vec).collect())
    }

    /// The vectors of codes: `[n]` → `[n, width]`. Codes must be of the book.
    #[must_use]
    pub fn vectors(&self, codes: Tensor<1, Int>) -> Tensor<2> {
        match self {
            Self::Vq(vq) => vq.book().select(0, codes),
            Self::Fsq(fsq) => fsq.vectors(codes),
        }
    }
}

/// `to` forward, and backward what belongs to `from`.
fn straight_through(from: Tensor<2>, to: Tensor<2>) -> Tensor<2> {
    from.clone() + (to - from).detach()
}
