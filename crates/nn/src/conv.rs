//! Convolutions over pictures, with gradients: kernels of our own on the CPU, Burn's elsewhere.
//!
//! Burn computes the gradient of a weight as a convolution whose kernel is the whole picture, once for each input channel;
//! ours is one product of matrices for some pictures.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexTensor};
use jielong_kernels::Conv2d;
use rayon::prelude::*;

use crate::cpu::{Where, plain, tracked, values};

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

/// `weight ∗ x + bias`: `[b, inputs, h, w]` and `[outputs, inputs, kernel, kernel]` → `[b, outputs, h', w']`
#[must_use]
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, sliding: Sliding) -> Tensor<4> {
    let [outputs, inputs, kernel, across] = weight.dims();
    let [_, _, height, width] = x.dims();
    let Sliding { stride, padding } = sliding;
    let shape = Conv2d { inputs, outputs, height, width, kernel, stride, padding };
    match Where::of(&[x.device(), weight.device(), bias.device()], &[x.dtype(), weight.dtype(), bias.dtype()]) {
        Where::Cpu if kernel == across => {
            let [x, weight, bias] = [plain(x), plain(weight), plain(bias)];
            Tensor::from_primitive::<Flex>(forward(shape, &x, &weight, &bias))
        }
        Where::Training if kernel == across => {
            let [x, weight, bias] = [tracked(x), tracked(weight), tracked(bias)];
            let nodes = [x.node(), weight.node(), bias.node()];
            let [x, weight, bias] = [x.into_primitive(), weight.into_primitive(), bias.into_primitive()];
            let y = forward(shape, &x, &weight, &bias);
            let y = match Conv.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(prep) => prep.finish((shape, x, weight), y),
                OpsKind::UnTracked(prep) => prep.finish(y),
            };
            Tensor::from_primitive::<Autodiff<Flex>>(y)
        }
        _ => {
            let options = ConvOptions::new_with_padding([stride; 2], [padding; 2], [1; 2], 1);
            burn::tensor::module::conv2d(x, weight, Some(bias), options)
        }
    }
}

#[derive(Debug)]
struct Conv;

impl Backward<Flex, 3> for Conv {
    type State = (Conv2d, FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [x_node, weight_node, bias_node] = ops.parents;
        let (shape, x, weight) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node);
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, input_gradient(shape, &weight, &dy));
        }
        if weight_node.is_some() || bias_node.is_some() {
            let (dweight, dbias) = weight_gradient(shape, &x, &dy);
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

fn forward(shape: Conv2d, x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let (x, weight, bias) = (values(x), values(weight), values(bias));
    let ([before, after], [rows, columns]) = (shape.sizes(), shape.out());
    let pictures = x.len() / before;
    let mut y = vec![0.0; pictures * after];
    let threads = rayon::current_num_threads();
    if pictures < threads && shape.outputs >= 2 * threads {
        // Few pictures: some channels a thread.
        let channels = shape.outputs.div_ceil(threads);
        let (places, depth) = (rows * columns, shape.weights() / shape.outputs);
        for (x, y) in x.chunks_exact(before).zip(y.chunks_exact_mut(after)) {
            y.par_chunks_mut(channels * places).enumerate().for_each(|(part, y)| {
                let (first, count) = (part * channels, y.len() / places);
                let weight = &weight[first * depth..][..count * depth];
                Conv2d { outputs: count, ..shape }.forward(x, weight, &bias[first..first + count], y);
            });
        }
    } else {
        let share = share(pictures);
        let parts = x.par_chunks(share * before).zip(y.par_chunks_mut(share * after));
        parts.for_each(|(x, y)| shape.forward(x, &weight, &bias, y));
    }
    tensor(y, [pictures, shape.outputs, rows, columns])
}

fn input_gradient(shape: Conv2d, weight: &FlexTensor, dy: &FlexTensor) -> FlexTensor {
    let (weight, dy) = (values(weight), values(dy));
    let [before, after] = shape.sizes();
    let pictures = dy.len() / after;
    let (mut dx, share) = (vec![0.0; pictures * before], share(pictures));
    let parts = dx.par_chunks_mut(share * before).zip(dy.par_chunks(share * after));
    parts.for_each(|(dx, dy)| shape.input_gradient(&weight, dy, dx));
    tensor(dx, [pictures, shape.inputs, shape.height, shape.width])
}

fn weight_gradient(shape: Conv2d, x: &FlexTensor, dy: &FlexTensor) -> (FlexTensor, FlexTensor) {
    let (x, dy) = (values(x), values(dy));
    let [before, after] = shape.sizes();
    let share = (x.len() / before).div_ceil(PARTS).max(1);
    let parts = x.par_chunks(share * before).zip(dy.par_chunks(share * after)).map(|(x, dy)| {
        let mut sums = (vec![0.0; shape.weights()], vec![0.0; shape.outputs]);
        shape.weight_gradient(x, dy, &mut sums.0, &mut sums.1);
        sums
    });
    let parts: Vec<_> = parts.collect();
    let sum = parts.into_iter().reduce(|mut sum, part| {
        sum.0.iter_mut().zip(part.0).for_each(|(sum, part)| *sum += part);
        sum.1.iter_mut().zip(part.1).for_each(|(sum, part)| *sum += part);
        sum
    });
    let (dweight, dbias) = sum.unwrap_or_else(|| (vec![0.0; shape.weights()], vec![0.0; shape.outputs]));
    let Conv2d { inputs, outputs, kernel, .. } = shape;
    (tensor(dweight, [outputs, inputs, kernel, kernel]), tensor(dbias, [outputs]))
}
