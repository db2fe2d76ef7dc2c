//! Products in bf16 in training. In a file of its own: the setting is that of the process.

#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Distribution, Tensor};
use jielong_kernels::Isa;
use jielong_nn::conv::{Sliding, conv2d};
use jielong_nn::factors::{Factors, set_training_factors};
use jielong_nn::linear::linear;

#[test]
fn training_rounds_factors_and_nothing_else_does() {
    let device = Device::flex().autodiff();
    device.seed(1);
    let random = |shape| Tensor::<4>::random(shape, Distribution::Uniform(-1.0, 1.0), &device);
    let (x, weight) = (random([3, 7, 9, 9]), random([12, 7, 3, 3]));
    let bias = Tensor::<1>::zeros([12], &device);
    let sliding = Sliding { stride: 1, padding: (1, 1) };
    let convolution = |x: Tensor<4>, weight: Tensor<4>| {
        let bias = if x.is_autodiff() { bias.clone() } else { bias.clone().without_autodiff() };
        conv2d(x, weight, bias, sliding)
    };
    let (rows, matrix) = (random([1, 1, 70, 45]), random([1, 1, 33, 45]));
    let product = |x: Tensor<4>, weight: Tensor<4>| {
        let ([.., n, inputs], [.., outputs, _]) = (x.dims(), weight.dims());
        linear(x.reshape([n, inputs]), weight.reshape([outputs, inputs])).reshape([1, 1, n, outputs])
    };
    let isa = Isa::best();
    check(&[x, weight], convolution, isa == Isa::Avx512Bf16);
    set_training_factors(Factors::F32);
    check(&[rows, matrix], product, isa >= Isa::Avx512Bf16);
}

/// Values and gradients in f32, then in bf16: whether they differ, and not by much.
fn check(inputs: &[Tensor<4>; 2], of: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<4>, rounds: bool) {
    let [x, weight] = inputs.each_ref().map(|x| x.clone().require_grad());
    let run = || {
        let y = of(x.clone(), weight.clone());
        let mut gradients = (y.clone() * y.clone()).sum().backward();
        let values = |t: Tensor<4>| t.into_data().iter::<f32>().collect::<Vec<f32>>();
        [values(y), values(x.grad_remove(&mut gradients).unwrap()), values(weight.grad_remove(&mut gradients).unwrap())]
    };
    let plain = || {
        let [x, weight] = inputs.each_ref().map(|x| x.clone().without_autodiff());
        of(x, weight).into_data()
    };
    let (exact, outside) = (run(), plain());
    set_training_factors(Factors::Bf16);
    let rounded = run();
    assert_eq!(plain(), outside, "without gradients nothing is rounded");
    for (what, (a, b)) in ["y", "dx", "dweight"].iter().zip(rounded.iter().zip(&exact)) {
        let size = b.iter().fold(0.0f32, |most, b| most.max(b.abs()));
        let most = a.iter().zip(b).fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / size;
        assert!(most < 1e-2, "{what}: {most}");
        assert_eq!(most > 0.0, rounds, "{what}: {most}");
    }
}
