//! Convolutions over pictures and along time, with gradients: kernels of our own on the CPU, Burn's elsewhere.
//!
//! Burn computes the gradient of a weight as a convolution whose kernel is the whole picture, once for each input channel;
//! ours is a product of pictures and gradients for all channels.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{FloatDType, Tensor, TensorData};
use burn_flex::{Flex, FlexTensor};
use jielong_kernels::{Along, Conv2d, Factors, Filter, Isa};
use rayon::prelude::*;

use crate::cpu::{Where, differentiable, plain, tracked, values};
use crate::factors::training_factors;

/// Parts of a batch whose gradients of a weight are summed apart, then in order: results do not depend on threads.
const PARTS: usize = 8;

/// How a convolution goes over a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// Places from one result to the next.
    pub stride: usize,
    /// Zeros before and after rows and columns.
    pub padding: (usize, usize),
}

/// `weight ∗ x + bias`: `[b, inputs, h, w]` and `[outputs, inputs, rows, columns]` → `[b, outputs, h', w']`
#[must_use]
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, sliding: Sliding) -> Tensor<4> {
    let [outputs, _, rows, columns] = weight.dims();
    let Sliding { stride, padding } = sliding;
    let along = |kernel| Along { kernel, stride, padding, dilation: 1 };
    by_kernels(&x, &weight, &bias, [along(rows), along(columns)]).unwrap_or_else(|| {
        let options = ConvOptions::new_with_padding([stride; 2], [padding; 2], [1; 2], 1);
        let (gradients, dtype) = (x.is_autodiff() || weight.is_autodiff(), x.dtype());
        if gradients && training_factors() == Factors::Bf16 {
            let [x, weight] = [x, weight].map(|tensor| tensor.cast(FloatDType::BF16));
            let y = burn::tensor::module::conv2d(x, weight, None, options);
            y.cast(dtype) + bias.reshape([1, outputs, 1, 1])
        } else {
            burn::tensor::module::conv2d(x, weight, Some(bias), options)
        }
    })
}

/// `weight ∗ x + bias` along time, as many zeros after it as before: `[b, inputs, t]` and `[outputs, inputs, kernel]` →
/// `[b, outputs, t']`
#[must_use]
pub fn conv1d(x: Tensor<3>, weight: Tensor<3>, bias: Tensor<1>, [stride, padding, dilation]: [usize; 3]) -> Tensor<3> {
    let [_, _, kernel] = weight.dims();
    let along = Along { kernel, stride, padding: (padding, padding), dilation };
    // Time goes down a picture of one column.
    let y = by_kernels(&x.clone().unsqueeze_dim(3), &weight.clone().unsqueeze_dim(3), &bias, [along, Along::ONE]);
    y.map(|y| y.squeeze_dim(3)).unwrap_or_else(|| {
        let options = ConvOptions::new([stride], [padding], [dilation], 1);
        burn::tensor::module::conv1d(x, weight, Some(bias), options)
    })
}

/// A convolution by our kernels, with the way back where gradients are wanted; `None` if not all tensors are of f32 on the CPU.
fn by_kernels(x: &Tensor<4>, weight: &Tensor<4>, bias: &Tensor<1>, along: [Along; 2]) -> Option<Tensor<4>> {
    let ([outputs, inputs, ..], [_, _, height, width]) = (weight.dims(), x.dims());
    let shape = Conv2d { inputs, outputs, height, width, along };
    match Where::of(&[x.device(), weight.device(), bias.device()], &[x.dtype(), weight.dtype(), bias.dtype()]) {
        Where::Cpu => {
            let [x, weight, bias] = [plain(x.clone()), plain(weight.clone()), plain(bias.clone())];
            Some(Tensor::from_primitive::<Flex>(forward(shape, Factors::F32, &x, &weight, &bias)))
        }
        Where::Training => {
            let inputs = [tracked(x.clone()), tracked(weight.clone()), tracked(bias.clone())];
            Some(differentiable(Conv, inputs, |[x, weight, bias]| {
                let factors = training_factors();
                let y = forward(shape, factors, &x, &weight, &bias);
                ((shape, factors, x, weight), y)
            }))
        }
        Where::Elsewhere => None,
    }
}

#[derive(Debug)]
struct Conv;

impl Backward<Flex, 3> for Conv {
    type State = (Conv2d, Factors, FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [x_node, weight_node, bias_node] = ops.parents;
        let (shape, factors, x, weight) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node);
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, input_gradient(shape, factors, &weight, &dy));
        }
        if weight_node.is_some() || bias_node.is_some() {
            let (dweight, dbias) = weight_gradient(shape, factors, &x, &dy);
            if let Some(node) = weight_node {
                grads.register::<Flex>(node.id, dweight);
            }
            if let Some(node) = bias_node {
                grads.register::<Flex>(node.id, dbias);
            }
        }
    }
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Pictures that a thread takes at once: all have some, and small pictures come in tiles of several.
fn share(pictures: usize) -> usize {
    pictures.div_ceil(2 * rayon::current_num_threads()).max(1)
}

fn forward(shape: Conv2d, factors: Factors, x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let (x, weight, bias) = (values(x), values(weight), values(bias));
    let [rows, columns] = shape.out();
    let y = apply(&shape.forward(Isa::best(), factors, &weight), &x, Some(&bias), shape.sizes(), shape.outputs);
    let pictures = x.len() / shape.sizes()[0];
    tensor(y, [pictures, shape.outputs, rows, columns])
}

fn input_gradient(shape: Conv2d, factors: Factors, weight: &FlexTensor, dy: &FlexTensor) -> FlexTensor {
    let (weight, dy) = (values(weight), values(dy));
    let [before, after] = shape.sizes();
    let dx = apply(&shape.backward(Isa::best(), factors, &weight), &dy, None, [after, before], shape.inputs);
    tensor(dx, [dy.len() / after, shape.inputs, shape.height, shape.width])
}

/// A filter over pictures, on all threads: pictures of `before` values become such of `after`, in `channels` channels.
fn apply(filter: &Filter, x: &[f32], bias: Option<&[f32]>, [before, after]: [usize; 2], channels: usize) -> Vec<f32> {
    let (pictures, threads) = (x.len() / before, rayon::current_num_threads());
    let mut y = vec![0.0; pictures * after];
    if pictures < threads {
        // Few pictures: some channels a thread.
        let part = channels.div_ceil(threads).next_multiple_of(Filter::BLOCK);
        for (x, y) in x.chunks_exact(before).zip(y.chunks_exact_mut(after)) {
            y.par_chunks_mut(part * (after / channels)).enumerate().for_each(|(index, y)| {
                let range = index * part..channels.min((index + 1) * part);
                filter.apply(x, bias.map(|bias| &bias[range.clone()]), range, y);
            });
        }
    } else {
        let share = share(pictures);
        let parts = x.par_chunks(share * before).zip(y.par_chunks_mut(share * after));
        parts.for_each(|(x, y)| filter.apply(x, bias, 0..channels, y));
    }
    y
}

fn weight_gradient(shape: Conv2d, factors: Factors, x: &FlexTensor, dy: &FlexTensor) -> (FlexTensor, FlexTensor) {
    let (x, dy) = (values(x), values(dy));
    let [before, after] = shape.sizes();
    let share = (x.len() / before).div_ceil(PARTS).max(1);
    let parts = x.par_chunks(share * before).zip(dy.par_chunks(share * after)).map(|(x, dy)| {
        let mut sums = (vec![0.0; shape.weights()], vec![0.0; shape.outputs]);
        shape.weight_gradient(Isa::best(), factors, x, dy, &mut sums.0, &mut sums.1);
        sums
    });
    let parts: Vec<_> = parts.collect();
    let sum = parts.into_iter().reduce(|mut sum, part| {
        sum.0.iter_mut().zip(part.0).for_each(|(sum, part)| *sum += part);
        sum.1.iter_mut().zip(part.1).for_each(|(sum, part)| *sum += part);
        sum
    });
    let (dweight, dbias) = sum.unwrap_or_else(|| (vec![0.0; shape.weights()], vec![0.0; shape.outputs]));
    let Conv2d { inputs, outputs, along: [rows, columns], .. } = shape;
    (tensor(dweight, [outputs, inputs, rows.kernel, columns.kernel]), tensor(dbias, [outputs]))
}
