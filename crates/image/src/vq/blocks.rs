//! The parts of encoder and decoder: convolutions, group norm, residual block, attention over a picture, halving and doubling.
//!
//! Sources: Esser et al. 2021 (*Taming transformers*), whose blocks these are; Wu & He 2018 for group norm; Ramachandran et al.
//! 2017 for `x · σ(x)`, SiLU. New convolutions begin as PyTorch's do: uniform within 1/√inputs (He et al. 2015 with
//! a = √5).

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use jielong_nn::conv::{Sliding, conv2d};
use jielong_nn::group_norm::{Then, group_norm};
use jielong_nn::module::{constant, uniform};
use jielong_nn::picture::{doubled, sum};

use super::config::VqConfig;

/// Queries of attention computed at once: bounds memory for large pictures.
const QUERIES: usize = 1024;

/// What all norms have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    pub(crate) groups: usize,
    pub(crate) eps: f64,
}

impl From<&VqConfig> for Norm {
    fn from(config: &VqConfig) -> Self {
        Self { groups: config.norm_groups, eps: config.norm_eps }
    }
}

/// A convolution with bias.
#[derive(Module, Debug)]
pub(crate) struct Conv {
    weight: Param<Tensor<4>>, // [out, in, kernel, kernel]
    bias: Param<Tensor<1>>,
    #[module(skip)]
    sliding: Sliding,
}

impl Conv {
    /// A convolution that keeps height and width; `kernel` is odd.
    pub(crate) fn new(inputs: usize, outputs: usize, kernel: usize, device: &Device) -> Self {
        let bound = 1.0 / ((inputs * kernel * kernel) as f64).sqrt();
        Self {
            weight: uniform([outputs, inputs, kernel, kernel], bound, device),
            bias: uniform([outputs], bound, device),
            sliding: Sliding { stride: 1, padding: (kernel / 2, kernel / 2) },
        }
    }

    /// A convolution, four places wide, that halves height and width.
    pub(crate) fn halving(inputs: usize, outputs: usize, device: &Device) -> Self {
        Self { sliding: Sliding { stride: 2, padding: (1, 1) }, ..Self::new(inputs, outputs, 4, device) }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(x, self.weight.val(), self.bias.val(), self.sliding)
    }
}

/// Mean and variance over groups of channels of a picture, then a gain and a shift for each channel.
#[derive(Module, Debug)]
pub(crate) struct GroupNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    norm: Norm,
}

impl GroupNorm {
    pub(crate) fn new(channels: usize, norm: Norm, device: &Device) -> Self {
        Self { weight: constant([channels], 1.0, device), bias: constant([channels], 0.0, device), norm }
    }

    pub(crate) fn forward(&self, x: Tensor<4>, then: Then) -> Tensor<4> {
        let Norm { groups, eps } = self.norm;
        group_norm(x, self.weight.val(), self.bias.val(), (groups, eps), then)
    }
}

/// `x + conv(silu(norm(conv(silu(norm(x))))))`; a 1×1 convolution brings `x` to other channels.
#[derive(Module, Debug)]
pub(crate) struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv,
    norm2: GroupNorm,
    conv2: Conv,
    nin_shortcut: Option<Conv>,
}

impl ResBlock {
    pub(crate) fn new(inputs: usize, outputs: usize, norm: Norm, device: &Device) -> Self {
        Self {
            norm1: GroupNorm::new(inputs, norm, device),
            conv1: Conv::new(inputs, outputs, 3, device),
            norm2: GroupNorm::new(outputs, norm, device),
            conv2: Conv::new(outputs, outputs, 3, device),
            nin_shortcut: (inputs != outputs).then(|| Conv::new(inputs, outputs, 1, device)),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.conv1.forward(self.norm1.forward(x.clone(), Then::Silu));
        let y = self.conv2.forward(self.norm2.forward(y, Then::Silu));
        match &self.nin_shortcut {
            Some(conv) => sum(y, conv.forward(x)),
            None => sum(y, x),
        }
    }
}

/// `x + attention(norm(x))`: every place of a picture sees every other, in one head.
#[derive(Module, Debug)]
pub(crate) struct AttnBlock {
    norm: GroupNorm,
    q: Conv,
    k: Conv,
    v: Conv,
    proj_out: Conv,
}

impl AttnBlock {
    pub(crate) fn new(channels: usize, norm: Norm, device: &Device) -> Self {
        let conv = || Conv::new(channels, channels, 1, device);
        Self { norm: GroupNorm::new(channels, norm, device), q: conv(), k: conv(), v: conv(), proj_out: conv() }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let places = h * w;
        let normed = self.norm.forward(x.clone(), Then::Plain);
        let flat = |conv: &Conv| conv.forward(normed.clone()).reshape([b, c, places]);
        let q = flat(&self.q).swap_dims(1, 2) * (c as f64).powf(-0.5); // [b, places, c]
        let (k, v) = (flat(&self.k), flat(&self.v).swap_dims(1, 2));
        let rows = (0..places).step_by(QUERIES).map(|first| {
            let q = q.clone().narrow(1, first, QUERIES.min(places - first));
            softmax(q.matmul(k.clone()), 2).matmul(v.clone())
        });
        let y = Tensor::cat(rows.collect(), 1).swap_dims(1, 2).reshape([b, c, h, w]);
        sum(self.proj_out.forward(y), x)
    }
}

/// Half the height and width: a convolution of every other place, over zeros at the right and the bottom only.
#[derive(Module, Debug)]
pub(crate) struct Downsample {
    conv: Conv,
}

impl Downsample {
    pub(crate) fn new(channels: usize, device: &Device) -> Self {
        Self {
            conv: Conv { sliding: Sliding { stride: 2, padding: (0, 1) }, ..Conv::new(channels, channels, 3, device) },
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.conv.forward(x)
    }
}

/// Twice the height and width: each place four times, then a convolution.
#[derive(Module, Debug)]
pub(crate) struct Upsample {
    conv: Conv,
}

impl Upsample {
    pub(crate) fn new(channels: usize, device: &Device) -> Self {
        Self { conv: Conv::new(channels, channels, 3, device) }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.conv.forward(doubled(x))
    }
}

/// Squares of `side`×`side` places as channels: `[b, c, h, w]` → `[b, c · side², h / side, w / side]`
pub(crate) fn gather(x: Tensor<4>, side: usize) -> Tensor<4> {
    if side == 1 {
        return x;
    }
    let [b, c, h, w] = x.dims();
    let x = x.reshape([b, c, h / side, side, w / side, side]);
    x.permute([0, 1, 3, 5, 2, 4]).reshape([b, c * side * side, h / side, w / side])
}

/// The inverse of [`gather`] (Shi et al. 2016, sub-pixel convolution).
pub(crate) fn spread(x: Tensor<4>, side: usize) -> Tensor<4> {
    if side == 1 {
        return x;
    }
    let [b, c, h, w] = x.dims();
    let x = x.reshape([b, c / (side * side), side, side, h, w]);
    x.permute([0, 1, 4, 2, 5, 3]).reshape([b, c / (side * side), h * side, w * side])
}
