//! A learned book of vectors.

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, IndexingUpdateOp, Int, Tensor};

use super::{Quantized, straight_through};
use crate::module::lazy;

/// Vectors compared with the book at once: bounds memory.
const ROWS: usize = 1024;

/// A book of vectors.
#[derive(Module, Debug)]
pub struct Vq {
    embedding: Embedding,
    #[module(skip)]
    lookup: Lookup,
}

/// How the nearest vector is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
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
    pub(super) fn new(shape: [usize; 2], lookup: Lookup, device: &Device) -> Self {
        let bound = 1.0 / shape[0] as f64;
        let weight = lazy(shape, device, move |device| {
            let book = Tensor::random(shape, Distribution::Uniform(-bound, bound), device);
            if lookup == Lookup::Distance { book } else { unit(book) }
        });
        Self { embedding: Embedding { weight }, lookup }
    }

    /// The vectors of all codes, `[codes, width]`.
    pub(super) fn book(&self) -> Tensor<2> {
        let book = self.embedding.weight.val();
        if self.lookup == Lookup::Unit { unit(book) } else { book }
    }

    /// The book with other vectors for these codes.
    pub(super) fn with_vectors(self, codes: Tensor<1, Int>, vectors: Tensor<2>) -> Self {
        let Self { embedding: Embedding { weight }, lookup } = self;
        let weight = weight.map(|book| {
            let tracked = book.is_require_grad();
            let vectors = if book.is_autodiff() { vectors.autodiff() } else { vectors };
            let book = book.detach();
            let change = vectors - book.clone().select(0, codes.clone());
            let book = book.select_assign(0, codes, change, IndexingUpdateOp::Add);
            book.detach().set_require_grad(tracked)
        });
        Self { embedding: Embedding { weight }, lookup }
    }

    pub(super) fn forward(&self, z: Tensor<2>) -> Quantized {
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

/// Rows at length one; a row of zeros stays one.
fn unit(x: Tensor<2>) -> Tensor<2> {
    let square = (x.clone() * x.clone()).sum_dim(1);
    x / square.clamp_min(1e-24).sqrt()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Quantizer, QuantizerConfig};
    use super::*;

    fn ints<const D: usize>(tensor: Tensor<D, Int>) -> Vec<i64> {
        tensor.into_data().iter::<i64>().collect()
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
