//! Layers over frames, `[b, t, c]`, of ConvNeXt (Liu et al. 2022): a norm of each frame, and a convolution of each channel along
//! the frames. With gradients: one pass each on the CPU, Burn's operations elsewhere.

use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::cpu::{Function, added, apply, flat};

/// Frames that are one thread's work.
const TASK: usize = 64;

/// Mean 0 and variance 1 of each frame `[b, t, c]`, then gains and shifts `[c]` (Ba et al. 2016, *Layer Normalization*).
#[must_use]
pub fn layer_norm(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<3> {
    let norm = Norm { eps: eps as f32 };
    let inputs = [flat(&x), weight.clone(), bias.clone()];
    apply(norm, &inputs, x.dims()).unwrap_or_else(|| norm_with_burn(x, weight, bias, eps))
}

fn norm_with_burn(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<3> {
    let x = x.clone() - x.mean_dim(2);
    let variance = (x.clone() * x.clone()).mean_dim(2);
    x / (variance + eps).sqrt() * weight.unsqueeze::<3>() + bias.unsqueeze::<3>()
}

#[derive(Clone, Debug)]
struct Norm {
    eps: f32,
}

impl Norm {
    /// A frame's mean, and one over its deviation.
    fn moments(&self, x: &[f32]) -> [f32; 2] {
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / x.len() as f32;
        [mean, 1.0 / (variance + self.eps).sqrt()]
    }
}

impl Function<3> for Norm {
    fn value(&self, [x, weight, bias]: [&[f32]; 3]) -> Vec<f32> {
        let (width, mut y) = (weight.len(), vec![0.0; x.len()]);
        x.par_chunks(TASK * width).zip(y.par_chunks_mut(TASK * width)).for_each(|(x, y)| {
            for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
                let [mean, scale] = self.moments(x);
                for c in 0..width {
                    y[c] = (x[c] - mean) * scale * weight[c] + bias[c];
                }
            }
        });
        y
    }

    fn gradients(&self, [x, weight, _]: [&[f32]; 3], dy: &[f32]) -> [Vec<f32>; 3] {
        let (width, mut dx) = (weight.len(), vec![0.0; x.len()]);
        let size = TASK * width;
        let parts = x.par_chunks(size).zip(dy.par_chunks(size)).zip(dx.par_chunks_mut(size)).map(|((x, dy), dx)| {
            let mut sums = [vec![0.0; width], vec![0.0; width]];
            let frames = x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
            for ((x, dy), dx) in frames {
                let [mean, scale] = self.moments(x);
                let (mut along, mut total) = (0.0, 0.0);
                for c in 0..width {
                    let (unit, slope) = ((x[c] - mean) * scale, dy[c] * weight[c]);
                    (along, total) = (along + slope * unit, total + slope);
                    sums[0][c] += dy[c] * unit;
                    sums[1][c] += dy[c];
                }
                let (along, total) = (along / width as f32, total / width as f32);
                for c in 0..width {
                    dx[c] = scale * (dy[c] * weight[c] - total - (x[c] - mean) * scale * along);
                }
            }
            sums
        });
        let [dweight, dbias] = added(parts.collect());
        [dx, dweight, dbias]
    }
}

/// Each channel of frames `[b, t, c]` convolved with its own weights, `[places, c]`, an odd number of places around each, with
/// zeros beyond the frames; plus `bias`, `[c]`.
#[must_use]
pub fn depthwise(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<3> {
    let [_, t, channels] = x.dims();
    let inputs = [flat(&x), flat(&weight), bias.clone()];
    apply(Depthwise { t, channels }, &inputs, x.dims()).unwrap_or_else(|| depthwise_with_burn(x, weight, bias))
}

fn depthwise_with_burn(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<3> {
    let [places, _] = weight.dims();
    let taps = neighbours(x, places).into_iter().enumerate();
    taps.fold(bias.unsqueeze::<3>(), |sum, (place, x)| sum + x * weight.clone().narrow(0, place, 1).unsqueeze::<3>())
}

/// `x` at each of `places` around every frame, zeros beyond: each `[b, t, c]`.
#[must_use]
pub fn neighbours(x: Tensor<3>, places: usize) -> Vec<Tensor<3>> {
    let [b, t, c] = x.dims();
    let zeros = Tensor::<3>::zeros([b, places / 2, c], &x.device());
    let padded = Tensor::cat(vec![zeros.clone(), x, zeros], 1);
    (0..places).map(|place| padded.clone().narrow(1, place, t)).collect()
}

#[derive(Clone, Debug)]
struct Depthwise {
    t: usize,
    channels: usize,
}

impl Depthwise {
    /// The frames of `x`, from the first one of all recordings, that `place` of `places` meets with frame `at`.
    fn met(&self, at: usize, place: usize, places: usize) -> Option<usize> {
        let (start, t) = (at / self.t * self.t, at % self.t);
        (t + place).checked_sub(places / 2).filter(|&t| t < self.t).map(|t| start + t)
    }

    fn frame<'a>(&self, x: &'a [f32], at: usize) -> &'a [f32] {
        &x[at * self.channels..][..self.channels]
    }
}

impl Function<3> for Depthwise {
    fn value(&self, [x, weight, bias]: [&[f32]; 3]) -> Vec<f32> {
        let (mut y, places) = (vec![0.0; x.len()], weight.len() / self.channels);
        y.par_chunks_mut(TASK * self.channels).enumerate().for_each(|(task, y)| {
            for (y, at) in y.chunks_exact_mut(self.channels).zip(task * TASK..) {
                y.copy_from_slice(bias);
                for place in 0..places {
                    let Some(from) = self.met(at, place, places) else { continue };
                    let (x, weight) = (self.frame(x, from), self.frame(weight, place));
                    for c in 0..self.channels {
                        y[c] += x[c] * weight[c];
                    }
                }
            }
        });
        y
    }

    fn gradients(&self, [x, weight, _]: [&[f32]; 3], dy: &[f32]) -> [Vec<f32>; 3] {
        let (places, channels) = (weight.len() / self.channels, self.channels);
        let mut dx = vec![0.0; x.len()];
        // What a frame gets comes from where it is met: the same places, mirrored.
        dx.par_chunks_mut(TASK * channels).enumerate().for_each(|(task, dx)| {
            for (dx, at) in dx.chunks_exact_mut(channels).zip(task * TASK..) {
                for place in 0..places {
                    let Some(from) = self.met(at, places - 1 - place, places) else { continue };
                    let (dy, weight) = (self.frame(dy, from), self.frame(weight, place));
                    for c in 0..channels {
                        dx[c] += dy[c] * weight[c];
                    }
                }
            }
        });
        let parts = dy.par_chunks(TASK * channels).enumerate().map(|(task, dy)| {
            let mut sums = [vec![0.0; weight.len()], vec![0.0; channels]];
            for (dy, at) in dy.chunks_exact(channels).zip(task * TASK..) {
                for (place, sum) in sums[0].chunks_exact_mut(channels).enumerate() {
                    let Some(from) = self.met(at, place, places) else { continue };
                    let x = self.frame(x, from);
                    for c in 0..channels {
                        sum[c] += dy[c] * x[c];
                    }
                }
                sums[1].iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
            }
            sums
        });
        let [dweight, dbias] = added(parts.collect());
        [dx, dweight, dbias]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::{Device, Distribution};

    use super::*;

    /// Results and gradients.
    fn all(
        inputs: (&Tensor<3>, &Tensor<2>, &Tensor<1>),
        slopes: &Tensor<3>,
        of: impl Fn(Tensor<3>, Tensor<2>, Tensor<1>) -> Tensor<3>,
    ) -> Vec<f32> {
        let (x, a, b) =
            (inputs.0.clone().require_grad(), inputs.1.clone().require_grad(), inputs.2.clone().require_grad());
        let y = of(x.clone(), a.clone(), b.clone());
        let gradients = (y.clone() * slopes.clone()).sum().backward();
        let found = [x.grad(&gradients).unwrap().into_data(), a.grad(&gradients).unwrap().into_data()];
        let last = b.grad(&gradients).unwrap().into_data();
        [y.into_data()].iter().chain(&found).chain([&last]).flat_map(|data| data.iter::<f32>()).collect()
    }

    #[test]
    fn values_and_gradients_are_those_of_burns_operations() {
        let device = Device::flex().autodiff();
        for (b, t, c, places) in [(1, 1, 3, 7), (2, 5, 16, 7), (3, 70, 19, 3), (1, 200, 8, 1)] {
            let random = |shape| Tensor::<3>::random(shape, Distribution::Normal(0.3, 1.5), &device);
            let (x, slopes) = (random([b, t, c]), random([b, t, c]));
            let weight = Tensor::<2>::random([places, c], Distribution::Normal(0.0, 1.0), &device);
            let bias = Tensor::<1>::random([c], Distribution::Normal(0.0, 1.0), &device);
            let close = |ours: Vec<f32>, burns: Vec<f32>| {
                assert_eq!(ours.len(), burns.len());
                for (a, b) in ours.iter().zip(&burns) {
                    assert!((a - b).abs() < 2e-4 * b.abs().max(1.0), "{a} {b}");
                }
            };
            let inputs = (&x, &weight, &bias);
            close(all(inputs, &slopes, depthwise), all(inputs, &slopes, depthwise_with_burn));
            let first = |weight: Tensor<2>| weight.narrow(0, 0, 1).reshape([-1]);
            close(
                all(inputs, &slopes, |x, weight, bias| layer_norm(x, first(weight), bias, 1e-5)),
                all(inputs, &slopes, |x, weight, bias| norm_with_burn(x, first(weight), bias, 1e-5)),
            );
        }
    }
}
