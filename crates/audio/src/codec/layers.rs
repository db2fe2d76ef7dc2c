//! The layers that encoders and decoders are lists of.
//!
//! Sources: Kumar et al. 2023 for the residual units and their convolutions, Ziyin et al. 2020 for Snake, Liu et al. 2022 for
//! ConvNeXt, Siuzdak 2023 for the head of spectra. Fields are named so that the weights have Descript's names.

use burn::module::{Module, Param};
use burn::tensor::ops::ConvTransposeOptions;
use burn::tensor::{Device, Tensor};
use jielong_nn::conv::conv1d;
use jielong_nn::frames::{depthwise, layer_norm, neighbours};
use jielong_nn::layers::{gelu, snake};
use jielong_nn::module::{constant, uniform};

use super::config::{FrameConfig, LayerConfig};
use super::frames::{envelope, forward, inverse, magnitudes, mel, overlap, synthesized, windows};

/// ε of the norms.
const NORM_EPS: f64 = 1e-6;
/// Below this, a mel band counts as silent.
const FLOOR: f64 = 1e-5;
/// The largest magnitude of a spectrum, as a logarithm.
const LOUDEST: f32 = 4.6;

/// A layer: `[b, channels, time]` → the same.
#[derive(Module, Debug)]
pub(crate) enum Layer {
    Conv(Conv),
    Transposed(Transposed),
    Snake(Snake),
    Unit(Unit),
    Sequence(Sequence),
    Tanh(Tanh),
    Mel(Mel),
    Convnext(Convnext),
    Spectrum(Spectrum),
}

impl Layer {
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Conv(layer) => layer.forward(x),
            Self::Transposed(layer) => layer.forward(x),
            Self::Snake(layer) => layer.forward(x),
            Self::Unit(layer) => layer.forward(x),
            Self::Sequence(layer) => layer.forward(x),
            Self::Tanh(_) => x.tanh(),
            Self::Mel(layer) => layer.forward(x),
            Self::Convnext(layer) => layer.forward(x),
            Self::Spectrum(layer) => layer.forward(x),
        }
    }

    /// New layers for `channels` channels, and how many come out.
    pub(crate) fn list(
        layers: &[LayerConfig],
        mut channels: usize,
        config: &FrameConfig,
        device: &Device,
    ) -> (Vec<Self>, usize) {
        let mut list = Vec::with_capacity(layers.len());
        for layer in layers {
            let (layer, outputs) = Self::new(layer, channels, config, device);
            list.push(layer);
            channels = outputs;
        }
        (list, channels)
    }

    fn new(layer: &LayerConfig, channels: usize, config: &FrameConfig, device: &Device) -> (Self, usize) {
        let hop = config.hop;
        match *layer {
            LayerConfig::Conv { outputs, kernel } => {
                (Self::Conv(Conv::new([channels, outputs], kernel, 1, device)), outputs)
            }
            LayerConfig::Snake => (Self::Snake(Snake::new(channels, device)), channels),
            LayerConfig::Tanh => (Self::Tanh(Tanh::new(())), channels),
            LayerConfig::Down { outputs, rate } => {
                let mut block = units(channels, device);
                block.push(Self::Snake(Snake::new(channels, device)));
                block.push(Self::Conv(Conv::strided([channels, outputs], rate, device)));
                (Self::Sequence(Sequence { block }), outputs)
            }
            LayerConfig::Up { outputs, rate } => {
                let transposed = Transposed::new([channels, outputs], rate, device);
                let mut block = vec![Self::Snake(Snake::new(channels, device)), Self::Transposed(transposed)];
                block.extend(units(outputs, device));
                (Self::Sequence(Sequence { block }), outputs)
            }
            LayerConfig::Mel { window, bands } => {
                let layer = Mel {
                    transform: forward(window, device),
                    bands: mel(window, bands, config.sample_rate, device),
                    window,
                    hop,
                };
                (Self::Mel(layer), bands)
            }
            LayerConfig::Convnext { channels: width, hidden, kernel, blocks } => {
                (Self::Convnext(Convnext::new([channels, width, hidden], kernel, blocks, device)), width)
            }
            LayerConfig::Spectrum { window } => (Self::Spectrum(Spectrum::new(channels, window, hop, device)), 1),
        }
    }
}

/// The three residual units of a level.
fn units(channels: usize, device: &Device) -> Vec<Layer> {
    [1, 3, 9].map(|dilation| Layer::Unit(Unit::new(channels, dilation, device))).to_vec()
}

/// A convolution with bias, that keeps the time but for its stride.
#[derive(Module, Debug)]
pub(crate) struct Conv {
    weight: Param<Tensor<3>>, // [out, in, kernel]
    bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: usize,
    #[module(skip)]
    dilation: usize,
}

impl Conv {
    pub(crate) fn new([inputs, outputs]: [usize; 2], kernel: usize, dilation: usize, device: &Device) -> Self {
        let bound = 1.0 / ((inputs * kernel) as f64).sqrt();
        Self {
            weight: uniform([outputs, inputs, kernel], bound, device),
            bias: uniform([outputs], bound, device),
            stride: 1,
            padding: (kernel - 1) / 2 * dilation,
            dilation,
        }
    }

    /// To one place of `rate`.
    fn strided(channels: [usize; 2], rate: usize, device: &Device) -> Self {
        Self { stride: rate, padding: rate.div_ceil(2), ..Self::new(channels, 2 * rate, 1, device) }
    }

    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        conv1d(x, self.weight.val(), self.bias.val(), [self.stride, self.padding, self.dilation])
    }
}

/// A transposed convolution with bias: one place to `rate`; an odd rate loses one place in all, as Descript's does.
#[derive(Module, Debug)]
pub(crate) struct Transposed {
    weight: Param<Tensor<3>>, // [in, out, kernel]
    bias: Param<Tensor<1>>,
    #[module(skip)]
    rate: usize,
}

impl Transposed {
    fn new([inputs, outputs]: [usize; 2], rate: usize, device: &Device) -> Self {
        let bound = 1.0 / ((outputs * 2 * rate) as f64).sqrt();
        let (weight, bias) = (uniform([inputs, outputs, 2 * rate], bound, device), uniform([outputs], bound, device));
        Self { weight, bias, rate }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let options = ConvTransposeOptions::new([self.rate], [self.rate.div_ceil(2)], [0], [1], 1);
        burn::tensor::module::conv_transpose1d(x, self.weight.val(), Some(self.bias.val()), options)
    }
}

/// `x + sin²(αx) / α`
#[derive(Module, Debug)]
pub(crate) struct Snake {
    alpha: Param<Tensor<3>>, // [1, channels, 1]
}

impl Snake {
    fn new(channels: usize, device: &Device) -> Self {
        Self { alpha: constant([1, channels, 1], 1.0, device) }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        snake(x, self.alpha.val())
    }
}

/// `x + conv(snake(dilated(snake(x))))`
#[derive(Module, Debug)]
pub(crate) struct Unit {
    block: Vec<Layer>,
}

impl Unit {
    fn new(channels: usize, dilation: usize, device: &Device) -> Self {
        let snake = || Layer::Snake(Snake::new(channels, device));
        let conv = |kernel, dilation| Layer::Conv(Conv::new([channels; 2], kernel, dilation, device));
        Self { block: vec![snake(), conv(7, dilation), snake(), conv(1, 1)] }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.block.iter().fold(x.clone(), |y, layer| layer.forward(y)) + x
    }
}

/// Layers one after another.
#[derive(Module, Debug)]
pub(crate) struct Sequence {
    block: Vec<Layer>,
}

impl Sequence {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.block.iter().fold(x, |x, layer| layer.forward(x))
    }
}

/// `tanh`, which has no weights.
#[derive(Module, Debug)]
pub(crate) struct Tanh {
    #[module(skip)]
    nothing: (),
}

impl Tanh {
    fn new(nothing: ()) -> Self {
        Self { nothing }
    }
}

/// Samples `[b, 1, n]` → logarithms of mel bands `[b, bands, n / hop]`, about -1..1 in speech.
#[derive(Module, Debug)]
pub(crate) struct Mel {
    #[module(skip)]
    transform: Tensor<2>,
    #[module(skip)]
    bands: Tensor<2>,
    #[module(skip)]
    window: usize,
    #[module(skip)]
    hop: usize,
}

impl Mel {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, _, n] = x.dims();
        let rows = windows(x.reshape([b, n]), self.window, self.hop);
        let spectra = magnitudes(rows, &self.transform);
        let bands = spectra.matmul(self.bands.clone().unsqueeze::<3>());
        // -11.5 is silence, 5 is loud.
        ((bands.clamp_min(FLOOR).log() + 4.0) / 5.0).swap_dims(1, 2)
    }
}

/// `x · Wᵀ + b` over the last dimension.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    weight: Param<Tensor<2>>, // [out, in]
    bias: Param<Tensor<1>>,
}

impl Linear {
    fn new([inputs, outputs]: [usize; 2], device: &Device) -> Self {
        let bound = 1.0 / (inputs as f64).sqrt();
        Self { weight: uniform([outputs, inputs], bound, device), bias: constant([outputs], 0.0, device) }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, t, width] = x.dims();
        let y = x.reshape([b * t, width]).matmul(self.weight.val().transpose()) + self.bias.val().unsqueeze::<2>();
        let [_, outputs] = y.dims();
        y.reshape([b, t, outputs])
    }
}

/// Mean 0 and variance 1 over the last dimension, then a gain and a shift (Ba et al. 2016).
#[derive(Module, Debug)]
pub(crate) struct LayerNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl LayerNorm {
    fn new(width: usize, device: &Device) -> Self {
        Self { weight: constant([width], 1.0, device), bias: constant([width], 0.0, device) }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        layer_norm(x, self.weight.val(), self.bias.val(), NORM_EPS)
    }
}

/// A convolution in, a norm, the blocks, a norm.
#[derive(Module, Debug)]
pub(crate) struct Convnext {
    embed: Linear, // of `kernel` places
    norm: LayerNorm,
    blocks: Vec<Block>,
    final_norm: LayerNorm,
    #[module(skip)]
    kernel: usize,
}

impl Convnext {
    fn new([inputs, width, hidden]: [usize; 3], kernel: usize, blocks: usize, device: &Device) -> Self {
        Self {
            embed: Linear::new([inputs * kernel, width], device),
            norm: LayerNorm::new(width, device),
            blocks: (0..blocks).map(|_| Block::new([width, hidden], kernel, blocks, device)).collect(),
            final_norm: LayerNorm::new(width, device),
            kernel,
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let places = neighbours(x.swap_dims(1, 2), self.kernel);
        let x = self.norm.forward(self.embed.forward(Tensor::cat(places, 2)));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        self.final_norm.forward(x).swap_dims(1, 2)
    }
}

/// `x + γ · down(gelu(up(norm(depthwise(x)))))`
#[derive(Module, Debug)]
pub(crate) struct Block {
    dwconv: Param<Tensor<2>>, // [kernel, channels]
    dwconv_bias: Param<Tensor<1>>,
    norm: LayerNorm,
    pwconv1: Linear,
    pwconv2: Linear,
    gamma: Param<Tensor<1>>,
}

impl Block {
    fn new([width, hidden]: [usize; 2], kernel: usize, blocks: usize, device: &Device) -> Self {
        Self {
            dwconv: uniform([kernel, width], 1.0 / (kernel as f64).sqrt(), device),
            dwconv_bias: constant([width], 0.0, device),
            norm: LayerNorm::new(width, device),
            pwconv1: Linear::new([width, hidden], device),
            pwconv2: Linear::new([hidden, width], device),
            gamma: constant([width], 1.0 / blocks as f64, device),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let y = depthwise(x.clone(), self.dwconv.val(), self.dwconv_bias.val());
        let y = self.pwconv2.forward(gelu(self.pwconv1.forward(self.norm.forward(y))));
        x + y * self.gamma.val().unsqueeze::<3>()
    }
}

/// Magnitudes and phases out of a linear layer, then samples `[b, 1, t · hop]` of them.
#[derive(Module, Debug)]
pub(crate) struct Spectrum {
    out: Linear,
    #[module(skip)]
    transform: Tensor<2>,
    #[module(skip)]
    window: usize,
    #[module(skip)]
    hop: usize,
}

impl Spectrum {
    fn new(channels: usize, window: usize, hop: usize, device: &Device) -> Self {
        let out = Linear::new([channels, 2 * (window / 2 + 1)], device);
        Self { out, transform: inverse(window, device), window, hop }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.out.forward(x.swap_dims(1, 2));
        let [_, t, _] = x.dims();
        let rows = synthesized(x, LOUDEST, self.window, &self.transform);
        let through = envelope(self.window, self.hop, t, &rows.device());
        (overlap(rows, self.hop) / (through + 1e-3)).unsqueeze_dim(1)
    }
}
