//! Convolutions and group norm on the CPU, held to Burn's own, results and gradients.

#![allow(clippy::unwrap_used)]

use burn::tensor::activation::silu;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use jielong_nn::conv::{Sliding, conv1d, conv2d};
use jielong_nn::group_norm::{Then, group_norm};
use jielong_nn::train::Random;

/// Numbers of [-1, 1) from a generator of the test's own: that of a device is drawn from by all tests at once.
fn numbers<const D: usize>(random: &mut Random, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = (0..shape.iter().product()).map(|_| random.between(-1.0, 1.0) as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Result and gradients, of a sum of sines.
fn all(y: Tensor<4>, of: (&Tensor<4>, &[Tensor<1>], Option<&Tensor<4>>)) -> Vec<Vec<f32>> {
    let mut gradients = (y.clone() * 1.3).sin().sum().backward();
    let mut found = vec![y.into_data().iter::<f32>().collect()];
    found.push(of.0.grad_remove(&mut gradients).unwrap().into_data().iter().collect());
    found.extend(of.1.iter().map(|t| t.grad_remove(&mut gradients).unwrap().into_data().iter().collect()));
    found.extend(of.2.map(|t| t.grad_remove(&mut gradients).unwrap().into_data().iter().collect()));
    found
}

/// Equal up to rounding: of the largest, and of terms about one that cancel in a small gradient.
fn close(a: &[Vec<f32>], b: &[Vec<f32>]) {
    assert_eq!(a.len(), b.len());
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        assert_eq!(a.len(), b.len());
        let size = b.iter().fold(0.0f32, |most, b| most.max(b.abs()));
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-4 * size + 1e-6, "{index}: {a}, expected {b}");
        }
    }
}

#[test]
fn convolutions_are_those_of_burn() {
    let device = Device::flex().autodiff();
    let mut random = Random::at(&[1]);
    for (pictures, inputs, outputs, side, kernel, stride, padding) in [
        (3, 4, 6, 8, 3, 1, (1, 1)),
        (1, 8, 8, 6, 3, 1, (1, 1)),
        (19, 3, 5, 4, 1, 1, (0, 0)),
        (2, 4, 4, 8, 3, 2, (0, 1)),
        (2, 4, 4, 8, 4, 2, (1, 1)),
    ] {
        let x = numbers(&mut random, [pictures, inputs, side, side + 2], &device);
        let weight = numbers(&mut random, [outputs, inputs, kernel, kernel], &device).require_grad();
        let bias = numbers(&mut random, [outputs], &device).require_grad();
        let options = ConvOptions::new_with_padding([stride; 2], [padding; 2], [1; 2], 1);
        let theirs =
            |x: Tensor<4>| burn::tensor::module::conv2d(x, weight.clone(), Some(bias.clone()), options.clone());
        let ours = |x: Tensor<4>| conv2d(x, weight.clone(), bias.clone(), Sliding { stride, padding });
        let tracked = x.clone().require_grad();
        let of = (&tracked, &[bias.clone()][..], Some(&weight));
        close(&all(ours(tracked.clone()), of), &all(theirs(tracked.clone()), of));
        // A view, and without gradients.
        let turned = x.clone().swap_dims(2, 3);
        let (a, b) = (ours(turned.clone()), theirs(turned));
        assert!((a - b).abs().max().into_scalar::<f32>() < 1e-4);
        let plain = |t: Tensor<4>| t.without_autodiff();
        let y = conv2d(
            plain(x.clone()),
            plain(weight.clone()),
            bias.clone().without_autodiff(),
            Sliding { stride, padding },
        );
        assert!(!y.is_autodiff());
        assert!((y - plain(theirs(x.clone()))).abs().max().into_scalar::<f32>() < 1e-4);
        // Input without, weights with: as in the first layer.
        let mut gradients = ours(plain(x.clone())).sum().backward();
        let found = weight.grad_remove(&mut gradients).unwrap();
        let mut gradients = theirs(x).sum().backward();
        let expected = weight.grad_remove(&mut gradients).unwrap();
        assert!((found - expected).abs().max().into_scalar::<f32>() < 1e-3);
    }
}

#[test]
fn convolutions_along_time_are_those_of_burn() {
    let device = Device::flex().autodiff();
    let mut random = Random::at(&[3]);
    for (inputs, outputs, time, kernel, [stride, padding, dilation]) in
        [(4, 6, 50, 7, [1, 3, 1]), (5, 3, 40, 7, [1, 9, 3]), (3, 8, 41, 10, [5, 3, 1]), (7, 2, 9, 1, [1, 0, 1])]
    {
        let x = numbers(&mut random, [2, inputs, time, 1], &device).require_grad();
        let weight = numbers(&mut random, [outputs, inputs, kernel, 1], &device).require_grad();
        let bias = numbers(&mut random, [outputs], &device).require_grad();
        let run = |of: &dyn Fn(Tensor<3>, Tensor<3>) -> Tensor<3>| {
            let y = of(x.clone().squeeze_dim(3), weight.clone().squeeze_dim(3));
            all(y.unsqueeze_dim(3), (&x, std::slice::from_ref(&bias), Some(&weight)))
        };
        let options = || ConvOptions::new([stride], [padding], [dilation], 1);
        close(
            &run(&|x, weight| conv1d(x, weight, bias.clone(), [stride, padding, dilation])),
            &run(&|x, weight| burn::tensor::module::conv1d(x, weight, Some(bias.clone()), options())),
        );
    }
}

#[test]
fn norms_are_those_of_their_definition() {
    let device = Device::flex().autodiff();
    let mut random = Random::at(&[2]);
    for (shape, groups) in [([3, 6, 5, 7], 2), ([1, 8, 16, 16], 4), ([2, 4, 1, 1], 2), ([2, 3, 3, 3], 3)] {
        for then in [Then::Plain, Then::Silu] {
            let x = (numbers(&mut random, shape, &device) * 3.0 + 0.7).detach().require_grad();
            let [weight, bias] = [0, 1].map(|_| numbers(&mut random, [shape[1]], &device).require_grad());
            let ours = group_norm(x.clone(), weight.clone(), bias.clone(), (groups, 1e-3), then);
            let [b, c, h, w] = shape;
            let flat = x.clone().reshape([b, groups, c / groups * h * w]);
            let flat = flat.clone() - flat.mean_dim(2);
            let flat = flat.clone() / ((flat.clone() * flat).mean_dim(2) + 1e-3).sqrt();
            let line = |t: &Tensor<1>| t.clone().reshape([1, c, 1, 1]);
            let z = flat.reshape(shape) * line(&weight) + line(&bias);
            let theirs = if then == Then::Silu { silu(z) } else { z };
            let params = [weight, bias];
            close(&all(ours, (&x, &params, None)), &all(theirs, (&x, &params, None)));
        }
    }
}
