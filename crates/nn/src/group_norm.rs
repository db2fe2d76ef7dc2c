//! Group norm over pictures, with gradients: one pass of our own on the CPU, Burn's operations elsewhere.

use burn::tensor::Tensor;
use jielong_kernels::{GroupNorm, Isa};
use rayon::prelude::*;

use crate::cpu::{Function, added, apply, flat};

/// What follows a norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Plain,
    /// `z · σ(z)` (Ramachandran et al. 2017).
    Silu,
}

/// Mean and variance over groups of channels of a picture, then a gain and a shift for each channel (Wu & He 2018):
/// `[b, c, h, w]` → `[b, c, h, w]`
#[must_use]
pub fn group_norm(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    (groups, eps): (usize, f64),
    then: Then,
) -> Tensor<4> {
    let [_, channels, height, width] = x.dims();
    let norm = GroupNorm { channels, places: height * width, groups, eps: eps as f32, silu: then == Then::Silu };
    let inputs = [flat(&x), weight.clone(), bias.clone()];
    apply(norm, &inputs, x.dims()).unwrap_or_else(|| with_burn(x, weight, bias, (groups, eps), then))
}

/// The same out of Burn's operations.
fn with_burn(x: Tensor<4>, weight: Tensor<1>, bias: Tensor<1>, (groups, eps): (usize, f64), then: Then) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let x = x.reshape([b, groups, c / groups * h * w]);
    let x = x.clone() - x.mean_dim(2);
    let variance = (x.clone() * x.clone()).mean_dim(2);
    let x = (x / (variance + eps).sqrt()).reshape([b, c, h, w]);
    let z = x * weight.reshape([1, c, 1, 1]) + bias.reshape([1, c, 1, 1]);
    match then {
        Then::Plain => z,
        Then::Silu => burn::tensor::activation::silu(z),
    }
}

impl Function<3> for GroupNorm {
    fn value(&self, [x, weight, bias]: [&[f32]; 3]) -> Vec<f32> {
        let (mut y, isa) = (vec![0.0; x.len()], Isa::best());
        // Each group of each picture is a task: one picture alone is shared out as well.
        let channels = self.channels / self.groups;
        let (group, size) = (Self { channels, groups: 1, ..*self }, channels * self.places);
        x.par_chunks(size).zip(y.par_chunks_mut(size)).enumerate().for_each(|(index, (x, y))| {
            let first = index % self.groups * channels;
            group.forward(isa, x, &weight[first..][..channels], &bias[first..][..channels], y);
        });
        y
    }

    fn gradients(&self, [x, weight, bias]: [&[f32]; 3], dy: &[f32]) -> [Vec<f32>; 3] {
        let (size, isa, mut dx) = (self.channels * self.places, Isa::best(), vec![0.0; x.len()]);
        let parts = x.par_chunks(size).zip(dy.par_chunks(size)).zip(dx.par_chunks_mut(size));
        let sums = parts.map(|((x, dy), dx)| {
            let mut sums = [vec![0.0; self.channels], vec![0.0; self.channels]];
            let [dweight, dbias] = &mut sums;
            self.backward(isa, x, weight, bias, dy, dx, dweight, dbias);
            sums
        });
        let [dweight, dbias] = added(sums.collect());
        [dx, dweight, dbias]
    }
}
