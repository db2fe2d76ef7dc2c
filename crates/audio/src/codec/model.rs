//! Encoder, quantiser and decoder as one module, for training and for coding.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use jielong_nn::quantizer::{Quantized, Quantizer};

use super::config::FrameConfig;
use super::layers::{Conv, Layer};

/// The codec's network. Fields are named as in Descript's state dict.
#[derive(Module, Debug)]
pub struct FrameModel {
    encoder: Encoder,
    decoder: Decoder,
    quantizer: Residual,
}

#[derive(Module, Debug)]
struct Encoder {
    block: Vec<Layer>,
}

#[derive(Module, Debug)]
struct Decoder {
    model: Vec<Layer>,
}

/// Books one after another: each codes what those before it left (Zeghidour et al. 2021).
#[derive(Module, Debug)]
struct Residual {
    quantizers: Vec<Book>,
}

/// A quantiser between two projections.
#[derive(Module, Debug)]
struct Book {
    in_proj: Conv,
    out_proj: Conv,
    codebook: Quantizer,
}

/// Sound that went through the codes.
#[derive(Clone, Debug)]
pub struct Reconstruction {
    /// `[b, samples]`
    pub samples: Tensor<2>,
    /// Codes and losses of each book, places of one sound after those of another.
    pub books: Vec<Quantized>,
}

impl FrameModel {
    /// A model with new weights, made when they are first needed: on `device.autodiff()` it can be trained.
    #[must_use]
    pub fn new(config: &FrameConfig, device: &Device) -> Self {
        let (block, channels) = Layer::list(&config.encoder, 1, config, device);
        let (model, _) = Layer::list(&config.decoder, channels, config, device);
        let width = config.quantizer.width();
        let book = |_| Book {
            in_proj: Conv::new([channels, width], 1, 1, device),
            out_proj: Conv::new([width, channels], 1, 1, device),
            codebook: Quantizer::new(&config.quantizer, device),
        };
        let quantizer = Residual { quantizers: (0..config.books).map(book).collect() };
        Self { encoder: Encoder { block }, decoder: Decoder { model }, quantizer }
    }

    /// Samples `[b, n]`, `n` of whole frames, through the first `books` books and back.
    #[must_use]
    pub fn forward(&self, samples: Tensor<2>, books: usize) -> Reconstruction {
        let (z, books) = self.quantize(samples, books);
        Reconstruction { samples: self.expand(z), books }
    }

    /// Codes of samples, `[b, n]` → `[b, frames, books]`
    #[must_use]
    pub fn encode(&self, samples: Tensor<2>, books: usize) -> Tensor<3, Int> {
        let [b, _] = samples.dims();
        let (z, books) = self.quantize(samples, books);
        let [_, _, frames] = z.dims();
        Tensor::cat(books.into_iter().map(|book| book.codes.reshape([b, frames, 1])).collect(), 2)
    }

    /// Samples of codes of the books: `[b, frames, books]` → `[b, n]`
    #[must_use]
    pub fn decode(&self, codes: Tensor<3, Int>) -> Tensor<2> {
        let [b, frames, count] = codes.dims();
        let vectors = self.quantizer.quantizers.iter().take(count).enumerate().map(|(index, book)| {
            let codes = codes.clone().narrow(2, index, 1).reshape([b * frames]);
            book.out([b, frames], book.codebook.vectors(codes))
        });
        match vectors.reduce(|a, b| a + b) {
            Some(z) => self.expand(z),
            None => Tensor::zeros([b, 0], &codes.device()),
        }
    }

    pub(super) fn quantizer(&self, book: usize) -> &Quantizer {
        &self.quantizer.quantizers[book].codebook
    }

    fn quantize(&self, samples: Tensor<2>, count: usize) -> (Tensor<3>, Vec<Quantized>) {
        let x = samples.unsqueeze_dim::<3>(1);
        let mut left = self.encoder.block.iter().fold(x, |x, layer| layer.forward(x));
        let (mut sum, mut books) = (left.zeros_like(), Vec::new());
        for book in self.quantizer.quantizers.iter().take(count) {
            let z = book.in_proj.forward(left.clone());
            let [b, width, frames] = z.dims();
            let quantized = book.codebook.forward(z.swap_dims(1, 2).reshape([b * frames, width]));
            let found = book.out([b, frames], quantized.vectors.clone());
            left = left - found.clone();
            sum = sum + found;
            books.push(quantized);
        }
        (sum, books)
    }

    /// `[b, channels, frames]` → `[b, samples]`
    fn expand(&self, z: Tensor<3>) -> Tensor<2> {
        let x = self.decoder.model.iter().fold(z, |x, layer| layer.forward(x));
        let [b, _, n] = x.dims();
        x.reshape([b, n])
    }
}

impl Book {
    /// Vectors `[b · frames, width]` → `[b, channels, frames]`
    fn out(&self, [b, frames]: [usize; 2], vectors: Tensor<2>) -> Tensor<3> {
        let [_, width] = vectors.dims();
        self.out_proj.forward(vectors.reshape([b, frames, width]).swap_dims(1, 2))
    }
}
