//! Norm, rotation, gate and GELU of a network's layers, with gradients: one pass of our own each on the CPU, Burn's operations elsewhere.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::tensor::{FloatDType, Tensor, TensorData, activation};
use burn_flex::{Flex, FlexTensor};
use jielong_kernels::{
    Isa, gelu as gelu_values, gelu_gradients, rms_norm_gradients, rms_norm_rows, rotate_positions,
    silu_gated as gate_rows, silu_gated_gradients,
};
use rayon::prelude::*;

use crate::cpu::{Where, differentiable, plain, tracked, values};

/// Values that are one thread's work.
const TASK: usize = 1 << 14;

/// Root mean square norm over the last dimension (Zhang & Sennrich 2019), computed in f32: `[…, width]`, gains `[width]`.
#[must_use]
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    match Where::of(&[x.device(), weight.device()], &[x.dtype(), weight.dtype()]) {
        Where::Cpu => Tensor::from_primitive::<Flex>(normed(&plain(x), &plain(weight), eps)),
        Where::Training => differentiable(Norm, [tracked(x), tracked(weight)], |[x, weight]| {
            let y = normed(&x, &weight, eps);
            ((x, weight, eps), y)
        }),
        Where::Elsewhere => norm_with_burn(x, weight, eps),
    }
}

fn norm_with_burn<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    let dtype = x.dtype();
    let x = x.cast(FloatDType::F32);
    let mean_square = (x.clone() * x.clone()).mean_dim(D - 1);
    let x = x / (mean_square + eps).sqrt();
    (x * weight.cast(FloatDType::F32).unsqueeze()).cast(dtype)
}

/// Values of whole rows that are one thread's work.
fn task(width: usize) -> usize {
    (TASK / width).max(1) * width
}

fn normed(x: &FlexTensor, weight: &FlexTensor, eps: f64) -> FlexTensor {
    let shape = x.layout().shape().clone();
    let (x, weight, isa) = (values(x), values(weight), Isa::best());
    let (mut y, size) = (vec![0.0; x.len()], task(weight.len()));
    let parts = x.par_chunks(size).zip(y.par_chunks_mut(size));
    parts.for_each(|(x, y)| rms_norm_rows(isa, x, &weight, eps as f32, y));
    FlexTensor::from_data(TensorData::new(y, shape))
}

#[derive(Debug)]
struct Norm;

impl Backward<Flex, 2> for Norm {
    type State = (FlexTensor, FlexTensor, f64);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, weight, eps) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node);
        let shape = x.layout().shape().clone();
        let (x, weight, dy, isa) = (values(&x), values(&weight), values(&dy), Isa::best());
        let (mut dx, width, size) = (vec![0.0; x.len()], weight.len(), task(weight.len()));
        let parts = x.par_chunks(size).zip(dy.par_chunks(size)).zip(dx.par_chunks_mut(size));
        let sums: Vec<Vec<f32>> = parts
            .map(|((x, dy), dx)| {
                let mut dweight = vec![0.0; width];
                rms_norm_gradients(isa, (x, &weight, eps as f32), dy, dx, &mut dweight);
                dweight
            })
            .collect();
        // In order, so that the sum is the same whoever computed a part.
        let mut dweight = vec![0.0; width];
        for sums in sums {
            dweight.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        let gradients = [TensorData::new(dx, shape), TensorData::new(dweight, [width])];
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, FlexTensor::from_data(gradient));
            }
        }
    }
}

/// Rotates the pairs `(i, i + half)` of each head by the angles of its position (Su et al. 2021): `[b, t, heads, d]`, of the
/// angles `[1, t, 1, half]`, through which no gradient goes. Values beyond the rotated ones stay.
#[must_use]
pub fn rotate(x: Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>) -> Tensor<4> {
    let angles = [cos, sin].map(|angles| angles.clone().inner());
    let [_, _, heads, d] = x.dims();
    match Where::of(&[x.device(), cos.device()], &[x.dtype(), cos.dtype()]) {
        Where::Cpu => Tensor::from_primitive::<Flex>(rotated(&plain(x), &angles.map(plain), [heads, d], false)),
        Where::Training => differentiable(Rotate, [tracked(x)], |[x]| {
            let angles = angles.map(plain);
            let y = rotated(&x, &angles, [heads, d], false);
            ((angles, [heads, d]), y)
        }),
        Where::Elsewhere => rotate_with_burn(x, cos, sin),
    }
}

fn rotate_with_burn(x: Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>) -> Tensor<4> {
    let [_, _, _, d] = x.dims();
    let (half, dtype) = (cos.dims()[3], x.dtype());
    let (cos, sin) = (cos.clone().cast(dtype), sin.clone().cast(dtype));
    let (a, b) = (x.clone().narrow(3, 0, half), x.clone().narrow(3, half, half));
    let mut parts = vec![a.clone() * cos.clone() - b.clone() * sin.clone(), b * cos + a * sin];
    if d > 2 * half {
        parts.push(x.narrow(3, 2 * half, d - 2 * half));
    }
    Tensor::cat(parts, 3)
}

/// Rotated by the angles, or back.
fn rotated(x: &FlexTensor, [cos, sin]: &[FlexTensor; 2], [heads, d]: [usize; 2], back: bool) -> FlexTensor {
    let shape = x.layout().shape().clone();
    let (mut y, cos, mut sin, isa) = (values(x).into_owned(), values(cos), values(sin), Isa::best());
    if back {
        sin.to_mut().iter_mut().for_each(|sin| *sin = -*sin);
    }
    let row = shape[1] * heads * d;
    y.par_chunks_mut(row.max(1)).for_each(|x| rotate_positions(isa, x, heads, d, &cos, &sin));
    FlexTensor::from_data(TensorData::new(y, shape))
}

#[derive(Debug)]
struct Rotate;

impl Backward<Flex, 1> for Rotate {
    type State = ([FlexTensor; 2], [usize; 2]);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (angles, sizes) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node);
        let [Some(node)] = ops.parents else { return };
        grads.register::<Flex>(node.id, rotated(&dy, &angles, sizes, true));
    }
}

/// `gate · sigmoid(gate) · up` (Shazeer 2020, SwiGLU), value by value.
#[must_use]
pub fn silu_gated<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    match Where::of(&[gate.device(), up.device()], &[gate.dtype(), up.dtype()]) {
        Where::Cpu => Tensor::from_primitive::<Flex>(gated(&plain(gate), &plain(up))),
        Where::Training => differentiable(Gated, [gate, up].map(tracked), |[gate, up]| {
            let y = gated(&gate, &up);
            ([gate, up], y)
        }),
        Where::Elsewhere => activation::silu(gate) * up,
    }
}

fn gated(gate: &FlexTensor, up: &FlexTensor) -> FlexTensor {
    let shape = gate.layout().shape().clone();
    let (mut y, up, isa) = (values(gate).into_owned(), values(up), Isa::best());
    y.par_chunks_mut(TASK).zip(up.par_chunks(TASK)).for_each(|(gate, up)| gate_rows(isa, gate, up));
    FlexTensor::from_data(TensorData::new(y, shape))
}

#[derive(Debug)]
struct Gated;

impl Backward<Flex, 2> for Gated {
    type State = [FlexTensor; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let (dy, isa, shape) = (values(&dy), Isa::best(), ops.state[0].layout().shape().clone());
        let [mut gate, mut up] = ops.state.each_ref().map(|x| values(x).into_owned());
        let parts = gate.par_chunks_mut(TASK).zip(up.par_chunks_mut(TASK)).zip(dy.par_chunks(TASK));
        parts.for_each(|((gate, up), dy)| silu_gated_gradients(isa, gate, up, dy));
        for (node, gradient) in ops.parents.into_iter().zip([gate, up]) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, FlexTensor::from_data(TensorData::new(gradient, shape.clone())));
            }
        }
    }
}

/// GELU, value by value: `x · Φ(x)` (Hendrycks & Gimpel 2016).
#[must_use]
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match Where::of(&[x.device()], &[x.dtype()]) {
        Where::Cpu => Tensor::from_primitive::<Flex>(gelu_of(&plain(x))),
        Where::Training => differentiable(Gelu, [tracked(x)], |[x]| {
            let y = gelu_of(&x);
            (x, y)
        }),
        Where::Elsewhere => activation::gelu(x),
    }
}

fn gelu_of(x: &FlexTensor) -> FlexTensor {
    let (shape, mut y, isa) = (x.layout().shape().clone(), values(x).into_owned(), Isa::best());
    y.par_chunks_mut(TASK).for_each(|y| gelu_values(isa, y));
    FlexTensor::from_data(TensorData::new(y, shape))
}

#[derive(Debug)]
struct Gelu;

impl Backward<Flex, 1> for Gelu {
    type State = FlexTensor;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let [Some(node)] = ops.parents else { return };
        let (shape, isa) = (ops.state.layout().shape().clone(), Isa::best());
        let (mut x, dy) = (values(&ops.state).into_owned(), values(&dy));
        x.par_chunks_mut(TASK).zip(dy.par_chunks(TASK)).for_each(|(x, dy)| gelu_gradients(isa, x, dy));
        grads.register::<Flex>(node.id, FlexTensor::from_data(TensorData::new(x, shape)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::{Device, Distribution};

    use super::*;

    /// Results and gradients of an operation on two tensors.
    fn all<const A: usize, const B: usize>(
        a: &Tensor<A>,
        b: &Tensor<B>,
        slopes: &Tensor<A>,
        of: impl Fn(Tensor<A>, Tensor<B>) -> Tensor<A>,
    ) -> Vec<f32> {
        let (a, b) = (a.clone().require_grad(), b.clone().require_grad());
        let y = of(a.clone(), b.clone());
        let gradients = (y.clone() * slopes.clone()).sum().backward();
        let [da, db] = [a.grad(&gradients).unwrap().to_data(), b.grad(&gradients).unwrap().to_data()];
        [y.to_data(), da, db].iter().flat_map(|data| data.iter::<f32>().collect::<Vec<_>>()).collect()
    }

    fn close(ours: &[f32], burns: &[f32]) {
        assert_eq!(ours.len(), burns.len());
        for (a, b) in ours.iter().zip(burns) {
            assert!((a - b).abs() < 2e-5 * b.abs().max(1.0), "{a} {b}");
        }
    }

    #[test]
    fn rotations_are_those_of_burns_operations() {
        let device = Device::flex().autodiff();
        let random = |shape| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        for (d, half) in [(8, 4), (10, 3), (2, 1)] {
            let (x, slopes) = (random([2, 5, 3, d]), random([2, 5, 3, d]));
            let [cos, sin] = [random([1, 5, 1, half]), random([1, 5, 1, half])].map(Tensor::inner);
            // The other tensor has no part in it, but is asked for its gradient.
            let run = |of: &dyn Fn(Tensor<4>) -> Tensor<4>| {
                let other = Tensor::<1>::ones([1], &device);
                all(&x, &other, &slopes, |x, other| of(x) * other.reshape([1, 1, 1, 1]))
            };
            close(
                &run(&|x| rotate(x, &cos, &sin)),
                &run(&|x| {
                    let [cos, sin] = [&cos, &sin].map(|angles| angles.clone().autodiff());
                    rotate_with_burn(x, &cos, &sin)
                }),
            );
        }
    }

    #[test]
    fn norms_and_gates_are_those_of_burns_operations() {
        let device = Device::flex().autodiff();
        let random = |shape| Tensor::<3>::random(shape, Distribution::Normal(0.0, 1.5), &device);
        for width in [1, 15, 48, 100] {
            let (x, slopes) = (random([3, 7, width]), random([3, 7, width]));
            let weight = Tensor::<1>::random([width], Distribution::Normal(1.0, 0.3), &device);
            let ours = all(&x, &weight, &slopes, |x, weight| rms_norm(x, weight, 1e-5));
            close(&ours, &all(&x, &weight, &slopes, |x, weight| norm_with_burn(x, weight, 1e-5)));
            let up = random([3, 7, width]);
            let ours = all(&x, &up, &slopes, silu_gated);
            close(&ours, &all(&x, &up, &slopes, |gate, up| activation::silu(gate) * up));
            let ours = all(&x, &up, &slopes, |x, up| gelu(x) + up);
            close(&ours, &all(&x, &up, &slopes, |x, up| activation::gelu(x) + up));
            let plain = rms_norm(x.clone().inner(), weight.inner(), 1e-5).into_data();
            assert_eq!(plain.iter::<f32>().count(), 21 * width);
        }
    }
}
