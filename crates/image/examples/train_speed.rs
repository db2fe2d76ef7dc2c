//! Time of the parts of a training step of a codec, in milliseconds, the best of some.
//!
//! ```text
//! cargo run --release -p jielong-image --example train_speed -- configs/codec/emoji.toml 128 16
//! ```

use std::path::Path;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use jielong_image::train::Comparison;
use jielong_image::vq::{VqConfig, VqModel};
use jielong_kernels::keep_memory;
use jielong_nn::factors::{Factors, set_training_factors};
use jielong_nn::module::parameters;
use jielong_nn::train::{AdamW, AdamWConfig, Average, Gradients, scalar};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    keep_memory();
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: train_speed CONFIG PIXELS BATCH [bf16]";
    let config = VqConfig::open(Path::new(&arguments.next().ok_or(usage)?))?;
    let size: usize = arguments.next().ok_or(usage)?.parse()?;
    let batch: usize = arguments.next().ok_or(usage)?.parse()?;
    if arguments.next().is_some_and(|factors| factors == "bf16") {
        set_training_factors(Factors::Bf16);
    }
    let device = Device::flex().autodiff();
    let mut model = VqModel::new(&config, &device);
    let count: usize = parameters(&model).values().map(|shape| shape.iter().product::<usize>()).sum();
    println!(
        "{:.2} million parameters, {} codes for {size}×{size} pixels",
        count as f64 / 1e6,
        (size / config.patch()).pow(2)
    );
    let (mut optimiser, mut average) = (AdamW::new(AdamWConfig::default()), Average::new(&model, 0.99));
    let comparison = Comparison::new(size, &device);
    let pixels = Tensor::<4>::random([batch, 3, size, size], Distribution::Uniform(-1.0, 1.0), &device);
    let mut best = [f64::INFINITY; 6];
    for _ in 0..5 {
        let mut times = Vec::new();
        let mut start = Instant::now();
        let mut lap = || times.push(std::mem::replace(&mut start, Instant::now()).elapsed().as_secs_f64() * 1e3);
        let made = model.forward(pixels.clone());
        lap();
        let parts = comparison.parts(made.pixels, pixels.clone());
        let loss = parts.l1 + parts.l2 + parts.gradient + parts.ssim + made.quantized.commitment_loss;
        scalar(loss.clone())?;
        lap();
        let mut backward = loss.backward();
        lap();
        let mut gradients = Gradients::default();
        gradients.add(&model, &mut backward, 1.0);
        drop(backward);
        lap();
        model = optimiser.step(model, gradients, 1e-4)?.0;
        lap();
        average.update(&model, 1);
        lap();
        best.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time));
    }
    for (what, time) in ["forward", "losses", "backward", "collect", "AdamW", "mean"].iter().zip(best) {
        println!("{what:10} {time:8.1} ms");
    }
    let all: f64 = best.iter().sum();
    println!("{:10} {all:8.1} ms, {:.1} pictures a second", "step", batch as f64 / all * 1e3);
    Ok(())
}
