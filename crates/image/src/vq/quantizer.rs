//! Vectors → codes and back, with a gradient across.
//!
//! [`Vq`]: the nearest vector of a learned book (van den Oord et al. 2017), at length one where the config says so (Yu et al.
//! 2021, *Vector-quantized image modeling with improved VQGAN*): then the nearest has the largest cosine, one product of
//! matrices away. [`Fsq`]: no book; each number is squashed and rounded to one of a few levels (Mentzer et al. 2023, *Finite
//! scalar quantization*, appendix A.1). Gradients pass the rounding unchanged (Bengio et al. 2013, straight-through).

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, IndexingUpdateOp, Int, Tensor, TensorData};
use jielong_nn::module::lazy;

use super::config::QuantizerConfig;

/// Vectors compared with the book at once: bounds memory.
const ROWS: usize = 1024;

/// ε of FSQ: by so much the outermost levels are rounded from within their bounds.
const FSQ_EPS: f64 = 1e-3;

/// What makes codes of vectors.
#[derive(Module, Debug)]
pub(crate) enum Quantizer {
    Vq(Vq),
    Fsq(Fsq),
}

/// Vectors as codes, for training.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// What was quantised, without its gradient, as it is compared with the book: `[places, width]`.
    pub inputs: Tensor<2>,
    /// The vectors of the codes, `[b, width, rows, columns]`; backward, the vectors that were quantised.
    pub vectors: Tensor<4>,
    /// Codes, `[b, rows, columns]`.
    pub codes: Tensor<3, Int>,
    /// Mean square distance that moves the book towards the vectors; 0 without a book.
    pub codebook_loss: Tensor<1>,
    /// Mean square distance that moves the vectors towards the book; 0 without a book. The papers add it with a weight of
    /// 0.25.
    pub commitment_loss: Tensor<1>,
}

impl Quantizer {
    pub(crate) fn new(config: &QuantizerConfig, device: &Device) -> Self {
        match config {
            QuantizerConfig::Vq { codebook_size, codebook_embed_dim, codebook_l2_norm } => {
                Self::Vq(Vq::new([*codebook_size, *codebook_embed_dim], *codebook_l2_norm, device))
            }
            QuantizerConfig::Fsq { levels } => Self::Fsq(Fsq { levels: levels.clone() }),
        }
    }

    /// Codes and what training needs, of `[b, width, rows, columns]`.
    pub(crate) fn forward(&self, z: Tensor<4>) -> Quantized {
        let [b, width, rows, columns] = z.dims();
        let flat = z.permute([0, 2, 3, 1]).reshape([b * rows * columns, width]);
        let Flat { inputs, vectors, codes, codebook_loss, commitment_loss } = match self {
            Self::Vq(vq) => vq.forward(flat),
            Self::Fsq(fsq) => fsq.forward(flat),
        };
        let vectors = vectors.reshape([b, rows, columns, width]).permute([0, 3, 1, 2]);
        Quantized { inputs, vectors, codes: codes.reshape([b, rows, columns]), codebook_loss, commitment_loss }
    }

    /// The quantiser with other vectors for these codes; one without a book stays.
    pub(crate) fn with_vectors(self, codes: Tensor<1, Int>, vectors: Tensor<2>) -> Self {
        match self {
            Self::Vq(Vq { embedding: Embedding { weight }, l2_norm }) => {
                let weight = weight.map(|book| {
                    let tracked = book.is_require_grad();
                    let vectors = if book.is_autodiff() { vectors.autodiff() } else { vectors };
                    let book = book.detach();
                    let change = vectors - book.clone().select(0, codes.clone());
                    let book = book.select_assign(0, codes, change, IndexingUpdateOp::Add);
                    book.detach().set_require_grad(tracked)
                });
                Self::Vq(Vq { embedding: Embedding { weight }, l2_norm })
            }
            other => other,
        }
    }

    /// The vectors of codes: `[b, rows, columns]` → `[b, width, rows, columns]`. Codes must be of the book.
    pub(crate) fn vectors(&self, codes: Tensor<3, Int>) -> Tensor<4> {
        let [b, rows, columns] = codes.dims();
        let codes = codes.reshape([b * rows * columns]);
        let vectors = match self {
            Self::Vq(vq) => vq.book().select(0, codes),
            Self::Fsq(fsq) => fsq.vectors(codes),
        };
        let [_, width] = vectors.dims();
        vectors.reshape([b, rows, columns, width]).permute([0, 3, 1, 2])
    }
}

/// [`Quantized`] without the picture: `[n, width]` and `[n]`.
struct Flat {
    inputs: Tensor<2>,
    vectors: Tensor<2>,
    codes: Tensor<1, Int>,
    codebook_loss: Tensor<1>,
    commitment_loss: Tensor<1>,
}

/// A book of vectors.
#[derive(Module, Debug)]
pub(crate) struct Vq {
    embedding: Embedding,
    #[module(skip)]
    l2_norm: bool,
}

#[derive(Module, Debug)]
struct Embedding {
    weight: Param<Tensor<2>>, // [codes, width], of any length
}

impl Vq {
    /// A new book is uniform within 1/codes, and of length one if it is used so.
    fn new(shape: [usize; 2], l2_norm: bool, device: &Device) -> Self {
        let bound = 1.0 / shape[0] as f64;
        let weight = lazy(shape, device, move |device| {
            let book = Tensor::random(shape, Distribution::Uniform(-bound, bound), device);
            if l2_norm { unit(book) } else { book }
        });
        Self { embedding: Embedding { weight }, l2_norm }
    }

    /// The vectors of all codes, `[codes, width]`.
    fn book(&self) -> Tensor<2> {
        let book = self.embedding.weight.val();
        if self.l2_norm { unit(book) } else { book }
    }

    fn forward(&self, z: Tensor<2>) -> Flat {
        let z = if self.l2_norm { unit(z) } else { z };
        let book = self.book();
        let codes = self.nearest(z.clone().detach(), book.clone().detach());
        let found = book.select(0, codes.clone());
        let square = |a: Tensor<2>, b: Tensor<2>| {
            let difference = a - b;
            (difference.clone() * difference).mean()
        };
        Flat {
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
        let half = (!self.l2_norm).then(|| (book.clone() * book.clone()).sum_dim(1).transpose() * 0.5);
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
pub(crate) struct Fsq {
    #[module(skip)]
    levels: Vec<usize>,
}

impl Fsq {
    fn forward(&self, z: Tensor<2>) -> Flat {
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
        Flat {
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
            let vectors = quantizer.vectors(codes.clone().reshape([1, 1, count]));
            let found: Vec<f32> = vectors.clone().into_data().iter().collect();
            assert!(found.iter().all(|v| v.abs() <= 1.0), "{levels:?}: {found:?}");
            // What rounds to a level: its digit through the inverse of the bound.
            let flat = vectors.clone().permute([0, 2, 3, 1]).reshape([count, levels.len()]);
            let half = |l: usize| (l as f64 - 1.0) * (1.0 - FSQ_EPS) / 2.0;
            let even = |l: usize| l.is_multiple_of(2);
            let values: Vec<f32> = flat.into_data().iter::<f32>().collect();
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
            let z = Tensor::<4>::from_data(TensorData::new(before, [1, 1, count, levels.len()]), &device);
            let again = quantizer.forward(z.permute([0, 3, 1, 2]));
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
            let z = Tensor::<4>::random([2, 3, 30, 40], Distribution::Uniform(-0.03, 0.03), &device); // more than ROWS
            let flat = z.clone().permute([0, 2, 3, 1]).reshape([2400, 3]);
            let flat = if l2_norm { unit(flat) } else { flat };
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
