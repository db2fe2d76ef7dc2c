//! How long a training step of a codec for sound takes: `audio_train_speed CONFIG SAMPLES BATCH`, on the CPU.

use std::path::Path;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use jielong_audio::codec::{FrameConfig, FrameModel};
use jielong_audio::train::Comparison;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    jielong_kernels::keep_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, samples, batch] = &arguments[..] else {
        return Err("usage: audio_train_speed CONFIG SAMPLES BATCH".into());
    };
    let (samples, batch): (usize, usize) = (samples.parse()?, batch.parse()?);
    let config = FrameConfig::open(Path::new(config))?;
    let device = Device::flex().autodiff();
    let model = FrameModel::new(&config, &device);
    let comparison = Comparison::new(&[(256, 40), (512, 64), (1024, 80), (2048, 80)], config.sample_rate, &device);
    let x = Tensor::<2>::random([batch, samples], Distribution::Uniform(-0.5, 0.5), &device);
    for _ in 0..4 {
        let start = Instant::now();
        let made = model.forward(x.clone(), config.books);
        let forward = start.elapsed().as_secs_f64();
        let parts = comparison.parts(&made.samples, &x);
        let loss = parts.mel + parts.magnitude + parts.convergence;
        let value = loss.clone().into_scalar::<f32>();
        let compared = start.elapsed().as_secs_f64();
        let gradients = loss.backward();
        std::hint::black_box(&gradients);
        println!(
            "model {forward:.2} s, loss {:.2} s, backward {:.2} s: {:.2} s a step ({value:.3})",
            compared - forward,
            start.elapsed().as_secs_f64() - compared,
            start.elapsed().as_secs_f64()
        );
    }
    Ok(())
}
