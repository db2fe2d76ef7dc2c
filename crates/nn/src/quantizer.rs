//! Vectors → codes and back, with a gradient across.
//!
//! [`Vq`]: the nearest vector of a learned book (van den Oord et al. 2017), at length one where the config says so (Yu et al.
//! 2021, *Vector-quantized image modeling with improved VQGAN*): then the nearest has the largest cosine, one product of
//! matrices away. [`Fsq`]: no book; each number is squashed and rounded to one of a few levels (Mentzer et al. 2023, *Finite
//! scalar quantization*, appendix A.1). Gradients pass the rounding unchanged (Bengio et al. 2013, straight-through).

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, IndexingUpdateOp, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::module::lazy;

/// Vectors compared with the book at once: bounds memory.
const ROWS: usize = 1024;

/// ε of FSQ: by so much the outermost levels are rounded from within their bounds.
const FSQ_EPS: f64 = 1e-3;

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
            QuantizerConfig::Fsq { levels } => Self::Fsq(Fsq { levels: levels.clone() }),
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
            Self::Vq(Vq { embedding: Embedding { weight }, lookup }) => {
                let weight = weight.map(|book| {
                    let tracked = book.is_require_grad();
                    let vectors = if book.is_autodiff() { vectors.autodiff() } else { vectors };
                    let book = book.detach();
                    let change = vectors - book.clone().select(0, codes.clone());
                    let book = book.select_assign(0, codes, change, IndexingUpdateOp::Add);
                    book.detach().set_require_grad(tracked)
                });
                Self::Vq(Vq { embedding: Embedding { weight }, lookup })
            }
            other => other,
        }
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

/// A book of vectors.
#[derive(Module, Debug)]
pub struct Vq {
    embedding: Embedding,
    #[module(skip)]
    lookup: Lookup,
}

/// How the nearest vector is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup {
    /// By distance.
    Distance,
    /// By distance, all at length one.
    Unit,
    /// By angle.
    Cosine,
}

#[derive(Module, Debug)]
struct Embedding {
    weight: Param<Tensor<2>>, // [codes, width], of any length
}

impl Vq {
    /// A new book is uniform within 1/codes, and of length one where lengths are not compared.
    fn new(shape: [usize; 2], lookup: Lookup, device: &Device) -> Self {
        let bound = 1.0 / shape[0] as f64;
        let weight = lazy(shape, device, move |device| {
            let book = Tensor::random(shape, Distribution::Uniform(-bound, bound), device);
            if lookup == Lookup::Distance { book } else { unit(book) }
        });
        Self { embedding: Embedding { weight }, lookup }
    }

    /// The vectors of all codes, `[codes, width]`.
    fn book(&self) -> Tensor<2> {
        let book = self.embedding.weight.val();
        if self.lookup == Lookup::Unit { unit(book) } else { book }
    }

    fn forward(&self, z: Tensor<2>) -> Quantized {
        let z = if self.lookup == Lookup::Unit { unit(z) } else { z };
        let book = self.book();
        let (plain, vectors) = (z.clone().detach(), book.clone().detach());
        let codes = match self.lookup {
            Lookup::Cosine => self.nearest(unit(plain), unit(vectors)),
            Lookup::Distance | Lookup::Unit => self.nearest(plain, vectors),
        };
        let found = book.select(0, codes.clone());
        let square = |a: Tensor<2>, b: Tensor<2>| {
            let difference = a - b;
            (difference.clone() * difference).mean()
        };
        Quantized {
            inputs: z.clone().detach(),
            codebook_loss: square(found.clone(), z.clone().detach()),
            commitment_loss: square(found.clone().detach(), z.clone()),
            vectors: straight_through(z, found),
            codes,
        }
    }

    /// The largest product with a vector of the book is the nearest at length one; else half its square is taken off:
    /// |z − e|² = |z|² − 2 (z·e − |e|²/2).
    fn nearest(&self, z: Tensor<2>, book: Tensor<2>) -> Tensor<1, Int> {
        let [count, _] = z.dims();
        let half =
            (self.lookup == Lookup::Distance).then(|| (book.clone() * book.clone()).sum_dim(1).transpose() * 0.5);
        let book = book.transpose();
        let parts = (0..count).step_by(ROWS).map(|first| {
            let products = z.clone().narrow(0, first, ROWS.min(count - first)).matmul(book.clone());
            let scores = match &half {
                Some(half) => products - half.clone(),
                None => products,
            };
            scores.argmax(1).squeeze_dim::<1>(1)
        });
        Tensor::cat(parts.collect(), 0)
    }
}

/// Levels instead of a book.
#[derive(Module, Debug)]
pub struct Fsq {
    #[module(skip)]
    levels: Vec<usize>,
}

impl Fsq {
    fn forward(&self, z: Tensor<2>) -> Quantized {
        let device = z.device();
        let row = |value: fn(f64) -> f64| self.row(&device, |levels| value(levels as f64));
        // tanh(z + shift) · half − offset lies within the levels; an even number of them is not symmetric around 0.
        let half = row(|levels| (levels - 1.0) * (1.0 - FSQ_EPS) / 2.0);
        let offset = row(|levels| if levels % 2.0 == 0.0 { 0.5 } else { 0.0 });
        let shift =
            row(|levels| if levels % 2.0 == 0.0 { (1.0 / ((levels - 1.0) * (1.0 - FSQ_EPS))).tan() } else { 0.0 });
        let bounded = (z + shift).tanh() * half - offset;
        let rounded = bounded.clone().detach().round();
        let middle = self.middle(&device);
        let digits = (rounded.clone() + middle.clone()).int(); // [n, width], each from 0 on
        let steps = Tensor::<1, Int>::from_data(TensorData::new(self.steps(), [self.levels.len()]), &device);
        let codes = (digits * steps.unsqueeze::<2>()).sum_dim(1).squeeze_dim::<1>(1);
        let none = Tensor::zeros([1], &device);
        Quantized {
            inputs: bounded.clone().detach(),
            vectors: straight_through(bounded, rounded) / middle,
            codes,
            codebook_loss: none.clone(),
            commitment_loss: none,
        }
    }

    fn vectors(&self, codes: Tensor<1, Int>) -> Tensor<2> {
        let device = codes.device();
        let columns = self.levels.iter().zip(self.steps()).map(|(&levels, step)| {
            let digit = codes.clone().div_scalar(step).remainder_scalar(levels as i64);
            digit.unsqueeze_dim::<2>(1).float()
        });
        let middle = self.middle(&device);
        (Tensor::cat(columns.collect(), 1) - middle.clone()) / middle
    }

    /// The digit that stands for 0, `[1, width]`; a vector is in units of it.
    fn middle(&self, device: &Device) -> Tensor<2> {
        self.row(device, |levels| (levels / 2) as f64)
    }

    /// What a digit counts in a code: the first is the lowest.
    fn steps(&self) -> Vec<i64> {
        let next = |step: &mut i64, &levels: &usize| Some(std::mem::replace(step, *step * levels as i64));
        self.levels.iter().scan(1, next).collect()
    }

    fn row(&self, device: &Device, value: impl Fn(usize) -> f64) -> Tensor<2> {
        let values: Vec<f32> = self.levels.iter().map(|&levels| value(levels) as f32).collect();
        Tensor::from_data(TensorData::new(values, [1, self.levels.len()]), device)
    }
}

/// `to` forward, and backward what belongs to `from`.
fn straight_through(from: Tensor<2>, to: Tensor<2>) -> Tensor<2> {
    from.clone() + (to - from).detach()
}

/// Rows at length one; a row of zeros stays one.
fn unit(x: Tensor<2>) -> Tensor<2> {
    let square = (x.clone() * x.clone()).sum_dim(1);
    x / square.clamp_min(1e-24).sqrt()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ints<const D: usize>(tensor: Tensor<D, Int>) -> Vec<i64> {
        tensor.into_data().iter::<i64>().collect()
    }

    #[test]
    fn every_code_of_fsq_has_a_vector_and_is_found_again() {
        let device = Device::flex();
        for levels in [vec![2], vec![3], vec![8, 5, 4], vec![2, 7, 3, 4]] {
            let count: usize = levels.iter().product();
            let quantizer = Quantizer::new(&QuantizerConfig::Fsq { levels: levels.clone() }, &device);
            let codes: Vec<i64> = (0..count as i64).collect();
            let codes = Tensor::<1, Int>::from_data(TensorData::new(codes.clone(), [count]), &device);
            let vectors = quantizer.vectors(codes.clone());
            let found: Vec<f32> = vectors.clone().into_data().iter().collect();
            assert!(found.iter().all(|v| v.abs() <= 1.0), "{levels:?}: {found:?}");
            // What rounds to a level: its digit through the inverse of the bound.
            let half = |l: usize| (l as f64 - 1.0) * (1.0 - FSQ_EPS) / 2.0;
            let even = |l: usize| l.is_multiple_of(2);
            let values: Vec<f32> = vectors.clone().into_data().iter::<f32>().collect();
            let before: Vec<f32> = values
                .iter()
                .enumerate()
                .map(|(i, &v)| {
                    let l = levels[i % levels.len()];
                    let (offset, middle) = (if even(l) { 0.5 } else { 0.0 }, (l / 2) as f64);
                    let bounded = ((f64::from(v) * middle + offset) / half(l)).clamp(-0.99999, 0.99999);
                    (bounded.atanh() - if even(l) { (offset / half(l)).tan() } else { 0.0 }) as f32
                })
                .collect();
            let again = quantizer.forward(Tensor::from_data(TensorData::new(before, [count, levels.len()]), &device));
            assert_eq!(ints(again.codes), ints(codes), "{levels:?}");
            let difference = (again.vectors - vectors).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-6, "{levels:?}: {difference}");
        }
    }

    #[test]
    fn the_nearest_vector_is_found_with_and_without_length_one() {
        let device = Device::flex();
        device.seed(1);
        for l2_norm in [true, false] {
            let config = QuantizerConfig::Vq { codebook_size: 50, codebook_embed_dim: 3, codebook_l2_norm: l2_norm };
            let quantizer = Quantizer::new(&config, &device);
            let Quantizer::Vq(vq) = &quantizer else { unreachable!() };
            let z = Tensor::<2>::random([2400, 3], Distribution::Uniform(-0.03, 0.03), &device); // more than ROWS
            let flat = if l2_norm { unit(z.clone()) } else { z.clone() };
            let distances = flat.unsqueeze_dim::<3>(1) - vq.book().unsqueeze_dim::<3>(0); // [n, codes, width]
            let distances: Vec<f32> = (distances.clone() * distances).sum_dim(2).into_data().iter().collect();
            let quantized = quantizer.forward(z);
            let mut sum = 0.0;
            for (row, code) in distances.chunks(50).zip(ints(quantized.codes.clone())) {
                let least = row.iter().copied().fold(f32::INFINITY, f32::min);
                assert!(row[code as usize] <= least + 1e-6, "{} and {least}", row[code as usize]);
                sum += f64::from(row[code as usize]);
            }
            let loss = quantized.commitment_loss.into_scalar::<f64>();
            assert!((loss - sum / 7200.0).abs() < 1e-6 * (1.0 + loss), "{loss} and {}", sum / 7200.0);
            let vectors = quantizer.vectors(quantized.codes);
            assert!((vectors - quantized.vectors).abs().max().into_scalar::<f32>() < 1e-6);
        }
    }
}
