//! Encoder, quantiser and decoder as one module, for training and for coding.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use jielong_nn::quantizer::{Quantized, Quantizer};

use super::blocks::Conv;
use super::config::VqConfig;
use super::decoder::Decoder;
use super::encoder::Encoder;

/// The codec's network. Fields are named as in LlamaGen's state dict.
#[derive(Module, Debug)]
pub struct VqModel {
    encoder: Encoder,
    decoder: Decoder,
    quantize: Quantizer,
    quant_conv: Conv,
    post_quant_conv: Conv,
}

/// Pixels that went through the codes.
#[derive(Clone, Debug)]
pub struct Reconstruction {
    /// `[b, 3, h, w]`
    pub pixels: Tensor<4>,
    /// Codes and losses.
    pub quantized: Quantized,
}

impl VqModel {
    /// A model with new weights, made when they are first needed: on `device.autodiff()` it can be trained.
    #[must_use]
    pub fn new(config: &VqConfig, device: &Device) -> Self {
        let width = config.quantizer.width();
        Self {
            encoder: Encoder::new(config, device),
            decoder: Decoder::new(config, device),
            quantize: Quantizer::new(&config.quantizer, device),
            quant_conv: Conv::new(config.z_channels, width, 1, device),
            post_quant_conv: Conv::new(width, config.z_channels, 1, device),
        }
    }

    /// Pixels in -1..1, `[b, 3, h, w]` of whole patches, through the codes and back.
    #[must_use]
    pub fn forward(&self, pixels: Tensor<4>) -> Reconstruction {
        let (quantized, grid) = self.quantize(pixels);
        Reconstruction { pixels: self.expand(quantized.vectors.clone(), grid), quantized }
    }

    /// The first half of [`forward`](Self::forward): codes, row after row of picture after picture, and how many pictures,
    /// rows and columns these are.
    #[must_use]
    pub fn quantize(&self, pixels: Tensor<4>) -> (Quantized, [usize; 3]) {
        let z = self.quant_conv.forward(self.encoder.forward(pixels));
        let [b, width, rows, columns] = z.dims();
        let flat = z.permute([0, 2, 3, 1]).reshape([b * rows * columns, width]);
        (self.quantize.forward(flat), [b, rows, columns])
    }

    /// Codes of pixels in -1..1: `[b, 3, h, w]` → `[b, h / patch, w / patch]`
    #[must_use]
    pub fn encode(&self, pixels: Tensor<4>) -> Tensor<3, Int> {
        let (quantized, grid) = self.quantize(pixels);
        quantized.codes.reshape(grid)
    }

    /// Pixels, near -1..1, of codes of the book: `[b, rows, columns]` → `[b, 3, rows · patch, columns · patch]`
    #[must_use]
    pub fn decode(&self, codes: Tensor<3, Int>) -> Tensor<4> {
        let grid = codes.dims();
        self.expand(self.quantize.vectors(codes.flatten(0, 2)), grid)
    }

    pub(super) fn quantizer(&self) -> &Quantizer {
        &self.quantize
    }

    /// The model with other vectors, `[n, width]`, for these codes of a learned book; without one it stays.
    #[must_use]
    pub fn with_vectors(mut self, codes: Tensor<1, Int>, vectors: Tensor<2>) -> Self {
        self.quantize = self.quantize.with_vectors(codes, vectors);
        self
    }

    /// Pixels of vectors `[b · rows · columns, width]`.
    fn expand(&self, vectors: Tensor<2>, [b, rows, columns]: [usize; 3]) -> Tensor<4> {
        let [_, width] = vectors.dims();
        let z = vectors.reshape([b, rows, columns, width]).permute([0, 3, 1, 2]);
        self.decoder.forward(self.post_quant_conv.forward(z))
    }
}
