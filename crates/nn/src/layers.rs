//! Norm, rotation, gate, GELU and Snake of a network's layers, with gradients: one pass of our own each on the CPU, and of the first
//! three without gradients on a card; Burn's operations elsewhere.

use burn::tensor::{FloatDType, Tensor, activation};
use jielong_kernels::{
    Isa, gelu as gelu_values, gelu_gradients, rms_norm_gradients, rms_norm_rows, rotate_positions,
    silu_gated as gate_rows, silu_gated_gradients, snake as snake_values, snake_gradients,
};
use rayon::prelude::*;

use crate::card;
use crate::cpu::{Function, added, apply, flat};

/// Values that are one thread's work.
const TASK: usize = 1 << 14;

/// Root mean square norm over the last dimension (Zhang & Sennrich 2019), computed in f32: `[…, width]`, gains `[width]`.
#[must_use]
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    let norm = Norm { eps: eps as f32 };
    apply(norm, &[flat(&x), weight.clone()], x.dims())
        .or_else(|| card::rms_norm(&x, &weight, eps))
        .unwrap_or_else(|| norm_with_burn(x, weight, eps))
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

#[derive(Clone, Debug)]
struct Norm {
    eps: f32,
}

impl Function<2> for Norm {
    fn value(&self, [x, weight]: [&[f32]; 2]) -> Vec<f32> {
        let (mut y, size, isa) = (vec![0.0; x.len()], task(weight.len()), Isa::best());
        let parts = x.par_chunks(size).zip(y.par_chunks_mut(size));
        parts.for_each(|(x, y)| rms_norm_rows(isa, x, weight, self.eps, y));
        y
    }

    fn gradients(&self, [x, weight]: [&[f32]; 2], dy: &[f32]) -> [Vec<f32>; 2] {
        let (mut dx, width, size) = (vec![0.0; x.len()], weight.len(), task(weight.len()));
        let (parts, isa) = (x.par_chunks(size).zip(dy.par_chunks(size)).zip(dx.par_chunks_mut(size)), Isa::best());
        let sums = parts.map(|((x, dy), dx)| {
            let mut dweight = vec![0.0; width];
            rms_norm_gradients(isa, (x, weight, self.eps), dy, dx, &mut dweight);
            [dweight]
        });
        let [dweight] = added(sums.collect());
        [dx, dweight]
    }
}

/// Rotates the pairs `(i, i + half)` of each head by the angles of its position (Su et al. 2021): `[b, t, heads, d]`, of the
/// angles `[1, t, 1, half]`, through which no gradient goes. Values beyond the rotated ones stay.
#[must_use]
pub fn rotate(x: Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>) -> Tensor<4> {
    let [_, t, heads, d] = x.dims();
    let inputs = [flat(&x), flat(&cos.clone().inner()), flat(&sin.clone().inner())];
    apply(Rotation { t, heads, d }, &inputs, x.dims())
        .or_else(|| card::rotate(&x, cos, sin))
        .unwrap_or_else(|| rotate_with_burn(x, cos, sin))
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

#[derive(Clone, Debug)]
struct Rotation {
    t: usize,
    heads: usize,
    d: usize,
}

impl Rotation {
    fn turn(&self, x: &[f32], cos: &[f32], sin: &[f32]) -> Vec<f32> {
        let (mut y, isa, row) = (x.to_vec(), Isa::best(), self.t * self.heads * self.d);
        y.par_chunks_mut(row.max(1)).for_each(|x| rotate_positions(isa, x, self.heads, self.d, cos, sin));
        y
    }
}

impl Function<3> for Rotation {
    fn value(&self, [x, cos, sin]: [&[f32]; 3]) -> Vec<f32> {
        self.turn(x, cos, sin)
    }

    fn gradients(&self, [_, cos, sin]: [&[f32]; 3], dy: &[f32]) -> [Vec<f32>; 3] {
        let back: Vec<f32> = sin.iter().map(|sin| -sin).collect();
        [self.turn(dy, cos, &back), Vec::new(), Vec::new()]
    }
}

/// `gate · sigmoid(gate) · up` (Shazeer 2020, SwiGLU), value by value.
#[must_use]
pub fn silu_gated<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    apply(Gated, &[flat(&gate), flat(&up)], gate.dims())
        .or_else(|| card::silu_gated(&gate, &up))
        .unwrap_or_else(|| activation::silu(gate) * up)
}

#[derive(Clone, Debug)]
struct Gated;

impl Function<2> for Gated {
    fn value(&self, [gate, up]: [&[f32]; 2]) -> Vec<f32> {
        let (mut y, isa) = (gate.to_vec(), Isa::best());
        y.par_chunks_mut(TASK).zip(up.par_chunks(TASK)).for_each(|(gate, up)| gate_rows(isa, gate, up));
        y
    }

    fn gradients(&self, inputs: [&[f32]; 2], dy: &[f32]) -> [Vec<f32>; 2] {
        let ([mut gate, mut up], isa) = (inputs.map(<[f32]>::to_vec), Isa::best());
        let parts = gate.par_chunks_mut(TASK).zip(up.par_chunks_mut(TASK)).zip(dy.par_chunks(TASK));
        parts.for_each(|((gate, up), dy)| silu_gated_gradients(isa, gate, up, dy));
        [gate, up]
    }
}

/// GELU, value by value: `x · Φ(x)` (Hendrycks & Gimpel 2016).
#[must_use]
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    apply(Gelu, &[flat(&x)], x.dims()).unwrap_or_else(|| activation::gelu(x))
}

#[derive(Clone, Debug)]
struct Gelu;

impl Function<1> for Gelu {
    fn value(&self, [x]: [&[f32]; 1]) -> Vec<f32> {
        let (mut y, isa) = (x.to_vec(), Isa::best());
        y.par_chunks_mut(TASK).for_each(|y| gelu_values(isa, y));
        y
    }

    fn gradients(&self, [x]: [&[f32]; 1], dy: &[f32]) -> [Vec<f32>; 1] {
        let (mut dx, isa) = (x.to_vec(), Isa::best());
        dx.par_chunks_mut(TASK).zip(dy.par_chunks(TASK)).for_each(|(x, dy)| gelu_gradients(isa, x, dy));
        [dx]
    }
}

/// Snake, `x + sin²(αx) / α`, with an α for each channel: `[b, channels, t]` and `[1, channels, 1]` (Ziyin et al. 2020,
/// *Neural networks fail to learn periodic functions and how to fix it*).
#[must_use]
pub fn snake(x: Tensor<3>, alpha: Tensor<3>) -> Tensor<3> {
    let [_, channels, time] = x.dims();
    apply(Snake { channels, time }, &[flat(&x), flat(&alpha)], x.dims()).unwrap_or_else(|| snake_with_burn(x, alpha))
}

/// The same out of Burn's operations.
fn snake_with_burn(x: Tensor<3>, alpha: Tensor<3>) -> Tensor<3> {
    let sin = (x.clone() * alpha.clone()).sin();
    x + sin.clone() * sin * (alpha + 1e-9).recip()
}

#[derive(Clone, Debug)]
struct Snake {
    channels: usize,
    time: usize,
}

impl Function<2> for Snake {
    fn value(&self, [x, alpha]: [&[f32]; 2]) -> Vec<f32> {
        let (mut y, isa) = (x.to_vec(), Isa::best());
        let rows = y.par_chunks_mut(self.time.max(1)).enumerate();
        rows.for_each(|(row, y)| snake_values(isa, y, alpha[row % self.channels]));
        y
    }

    fn gradients(&self, [x, alpha]: [&[f32]; 2], dy: &[f32]) -> [Vec<f32>; 2] {
        let (mut dx, mut parts, isa) = (x.to_vec(), dy.to_vec(), Isa::best());
        let time = self.time.max(1);
        let rows = dx.par_chunks_mut(time).zip(parts.par_chunks_mut(time)).enumerate();
        let sums: Vec<f32> = rows
            .map(|(row, (x, dy))| {
                snake_gradients(isa, x, dy, alpha[row % self.channels]);
                dy.iter().sum()
            })
            .collect();
        let mut dalpha = vec![0.0; self.channels];
        sums.iter().enumerate().for_each(|(row, sum)| dalpha[row % self.channels] += sum);
        [dx, dalpha]
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
    fn snakes_are_those_of_burns_operations() {
        let device = Device::flex().autodiff();
        let normal = |shape| Tensor::<3>::random(shape, Distribution::Normal(0.0, 2.0), &device);
        let (x, slopes) = (normal([3, 5, 37]), normal([3, 5, 37]));
        let alpha = Tensor::<3>::random([1, 5, 1], Distribution::Uniform(0.2, 3.0), &device);
        close(&all(&x, &alpha, &slopes, snake), &all(&x, &alpha, &slopes, snake_with_burn));
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
