//! Kernels for cards beside Burn's operations, on whatever Vulkan has: `scripts/test_card.sh`.

#![cfg(feature = "wgpu")]
#![allow(missing_docs)]

use burn::tensor::{Device, DeviceType, Distribution, Tensor, Tolerance};
use jielong_nn::attention::{Scores, attend};
use jielong_nn::card::{MOST_ROWS, attend_one, rows_product};
use jielong_nn::layers::{rms_norm, rotate, silu_gated};

/// The first device of Vulkan, a processor among them.
fn device() -> Option<Device> {
    let found = Device::enumerate(DeviceType::Wgpu).into_vec().into_iter().next();
    if found.is_none() {
        println!("skipped: Vulkan has no device here (Debian has one for processors in `mesa-vulkan-drivers`)");
    }
    found
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

#[test]
fn a_few_rows_are_multiplied_as_by_burn() {
    let Some(device) = device() else { return };
    for (n, inputs, outputs) in [(1, 64, 16), (1, 2048, 300), (2, 33, 5), (3, 576, 77), (4, 6, 1), (8, 130, 66)] {
        let (x, weight) = (random([n, inputs], &device), random([outputs, inputs], &device));
        let ours = rows_product(&x, &weight).map(Tensor::into_data);
        let theirs = x.matmul(weight.transpose()).into_data();
        let Some(ours) = ours else { panic!("{n} rows were left to Burn") };
        ours.assert_approx_eq::<f32>(&theirs, Tolerance::absolute(1e-3));
    }
    let more = random([MOST_ROWS + 1, 8], &device);
    assert!(rows_product(&more, &random([4, 8], &device)).is_none());
    assert!(rows_product(&random([1, 8], &Device::flex()), &random([4, 8], &Device::flex())).is_none());
}

#[test]
fn layers_are_those_of_the_cpu() {
    let Some(device) = device() else { return };
    let on = |x: &Tensor<4>| x.clone().to_device(&device);
    let cpu = Device::flex();
    for (t, heads, d, half) in [(1, 1, 8, 4), (5, 3, 20, 7), (2, 9, 64, 32), (1, 2, 600, 300)] {
        let (x, up) = (random([2, t, heads, d], &cpu), random([2, t, heads, d], &cpu));
        let [cos, sin] = [(), ()].map(|()| random([1, t, 1, half], &cpu));
        let weight = random([d], &cpu);
        let pairs = [
            (rms_norm(x.clone(), weight.clone(), 1e-5), rms_norm(on(&x), weight.to_device(&device), 1e-5)),
            (rotate(x.clone(), &cos, &sin), rotate(on(&x), &on(&cos), &on(&sin))),
            (silu_gated(x.clone(), up.clone()), silu_gated(on(&x), on(&up))),
        ];
        for (expected, there) in pairs {
            there.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
        }
    }
}

#[test]
fn one_query_attends_as_by_burn() {
    let Some(device) = device() else { return };
    for (heads, kv, d, slots, seen, softcap) in [
        (4, 2, 16, 32, 0..1, None),
        (9, 3, 64, 256, 0..200, None),
        (6, 1, 20, 512, 100..390, Some(30.0)),
        (2, 2, 128, 64, 3..64, None),
    ] {
        let (q, scores) = (random([1, 1, heads, d], &device), Scores { scale: (d as f64).powf(-0.5), softcap });
        let [keys, values] = [(), ()].map(|()| random([1, kv, slots, d], &device));
        let ours = attend_one(&q, &keys, &values, seen.clone(), scores).map(Tensor::into_data);
        let [k, v] = [keys, values].map(|all| all.narrow(2, seen.start, seen.len()));
        let theirs = attend(q, k, v, None, scores).into_data();
        let Some(ours) = ours else { panic!("attention to {seen:?} was left to Burn") };
        ours.assert_approx_eq::<f32>(&theirs, Tolerance::absolute(1e-5));
    }
}
