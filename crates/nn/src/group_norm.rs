//! Group norm over pictures, with gradients: one pass of our own on the CPU, Burn's operations elsewhere.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexTensor};
use jielong_kernels::{GroupNorm, Isa};
use rayon::prelude::*;

use crate::cpu::{Where, differentiable, plain, tracked, values};

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
    match Where::of(&[x.device(), weight.device(), bias.device()], &[x.dtype(), weight.dtype(), bias.dtype()]) {
        Where::Cpu => {
            let [x, weight, bias] = [plain(x), plain(weight), plain(bias)];
            Tensor::from_primitive::<Flex>(forward(norm, &x, &weight, &bias))
        }
        Where::Training => differentiable(Norm, [tracked(x), tracked(weight), tracked(bias)], |[x, weight, bias]| {
            let y = forward(norm, &x, &weight, &bias);
            ((norm, [x, weight, bias]), y)
        }),
        Where::Elsewhere => with_burn(x, weight, bias, (groups, eps), then),
    }
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

#[derive(Debug)]
struct Norm;

impl Backward<Flex, 3> for Norm {
    type State = (GroupNorm, [FlexTensor; 3]);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (norm, [x, weight, bias]) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node);
        let gradients = backward(norm, [&x, &weight, &bias], &dy);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

fn forward(norm: GroupNorm, x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let shape = x.layout().shape().clone();
    let (x, weight, bias, isa) = (values(x), values(weight), values(bias), Isa::best());
    let mut y = vec![0.0; x.len()];
    // Each group of each picture is a task: one picture alone is shared out as well.
    let channels = norm.channels / norm.groups;
    let (group, size) = (GroupNorm { channels, groups: 1, ..norm }, channels * norm.places);
    x.par_chunks(size).zip(y.par_chunks_mut(size)).enumerate().for_each(|(index, (x, y))| {
        let first = index % norm.groups * channels;
        group.forward(isa, x, &weight[first..][..channels], &bias[first..][..channels], y);
    });
    FlexTensor::from_data(TensorData::new(y, shape))
}

fn backward(norm: GroupNorm, [x, weight, bias]: [&FlexTensor; 3], dy: &FlexTensor) -> [FlexTensor; 3] {
    let shape = x.layout().shape().clone();
    let (x, weight, bias, dy, isa) = (values(x), values(weight), values(bias), values(dy), Isa::best());
    let (size, channels) = (norm.channels * norm.places, norm.channels);
    let mut dx = vec![0.0; x.len()];
    let parts = x.par_chunks(size).zip(dy.par_chunks(size)).zip(dx.par_chunks_mut(size));
    let sums: Vec<_> = parts
        .map(|((x, dy), dx)| {
            let mut sums = [vec![0.0; channels], vec![0.0; channels]];
            let [dweight, dbias] = &mut sums;
            norm.backward(isa, x, &weight, &bias, dy, dx, dweight, dbias);
            sums
        })
        .collect();
    let mut totals = [vec![0.0; channels], vec![0.0; channels]];
    for sums in sums {
        for (total, sum) in totals.iter_mut().zip(sums) {
            total.iter_mut().zip(sum).for_each(|(total, sum)| *total += sum);
        }
    }
    let [dweight, dbias] = totals.map(|total| FlexTensor::from_data(TensorData::new(total, [channels])));
    [FlexTensor::from_data(TensorData::new(dx, shape)), dweight, dbias]
}
