//! Products in bf16 in training. In a file of its own: the setting is that of the process.

#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Distribution, Tensor};
use jielong_kernels::Isa;
use jielong_nn::conv::{Factors, Sliding, conv2d, set_training_factors};

#[test]
fn training_rounds_factors_and_nothing_else_does() {
    let device = Device::flex().autodiff();
    device.seed(1);
    let random = |shape| Tensor::<4>::random(shape, Distribution::Uniform(-1.0, 1.0), &device);
    let (x, weight) = (random([3, 7, 9, 9]).require_grad(), random([12, 7, 3, 3]).require_grad());
    let bias = Tensor::<1>::zeros([12], &device);
    let sliding = Sliding { stride: 1, padding: (1, 1) };
    let run = || {
        let y = conv2d(x.clone(), weight.clone(), bias.clone(), sliding);
        let mut gradients = (y.clone() * y.clone()).sum().backward();
        let values = |t: Tensor<4>| t.into_data().iter::<f32>().collect::<Vec<f32>>();
        [values(y), values(x.grad_remove(&mut gradients).unwrap()), values(weight.grad_remove(&mut gradients).unwrap())]
    };
    let plain = || {
        let plain = |t: &Tensor<4>| t.clone().without_autodiff();
        conv2d(plain(&x), plain(&weight), bias.clone().without_autodiff(), sliding).into_data()
    };
    let (exact, outside) = (run(), plain());
    set_training_factors(Factors::Bf16);
    let rounded = run();
    assert_eq!(plain(), outside, "without gradients nothing is rounded");
    for (what, (a, b)) in ["y", "dx", "dweight"].iter().zip(rounded.iter().zip(&exact)) {
        let size = b.iter().fold(0.0f32, |most, b| most.max(b.abs()));
        let most = a.iter().zip(b).fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / size;
        assert!(most < 1e-2, "{what}: {most}");
        assert_eq!(most > 0.0, Isa::best() == Isa::Avx512Bf16, "{what}: {most}");
    }
}
