//! Time of the parts of a training step of a transformer, in milliseconds, the best of some.
//!
//! ```text
//! cargo run --release -p jielong-llama --example llama_train_speed -- 192 6 6 3 512 6060 256 5 bf16
//! ```
//!
//! The numbers are those of `configs/train/mini.toml`: hidden, layers, heads, kv_heads, intermediate, tokens of the vocabulary,
//! length of a row, rows.

use std::time::Instant;

use burn::tensor::Device;
use jielong_kernels::keep_memory;
use jielong_llama::train::{Batch, NewModel, Row};
use jielong_llama::{Compute, Llama, LoadOptions};
use jielong_nn::device::FloatDType;
use jielong_nn::factors::{Factors, set_training_factors};
use jielong_nn::module::parameters;
use jielong_nn::train::{AdamW, AdamWConfig, Average, Gradients, scalar};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    keep_memory();
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.last().is_some_and(|factors| factors == "bf16") {
        set_training_factors(Factors::Bf16);
        arguments.pop();
    }
    let numbers = arguments.iter().map(|number| number.parse()).collect::<Result<Vec<usize>, _>>()?;
    let [hidden, layers, heads, kv_heads, intermediate, vocab, length, rows] = numbers[..] else {
        return Err(
            "usage: llama_train_speed HIDDEN LAYERS HEADS KV_HEADS INTERMEDIATE VOCAB LENGTH ROWS [bf16]".into()
        );
    };
    let (rope_theta, tied, norm_eps) = (10_000.0, true, 1e-5);
    let shape = NewModel { hidden, layers, heads, kv_heads, intermediate, context: length, rope_theta, tied, norm_eps };
    let config = shape.config(vocab, None, &[0])?;
    let compute = Compute::Burn { device: Device::flex().autodiff(), dtype: FloatDType::F32 };
    let mut model = Llama::new(&config, 1, &[], &LoadOptions { compute, context: None })?;
    let count: usize = parameters(&model).values().map(|shape| shape.iter().product::<usize>()).sum();
    let row = |seed: usize| {
        let tokens: Vec<u32> = (0..length).map(|at| ((at * at + seed) * 7919 % vocab) as u32).collect();
        let mut row = Row::default();
        tokens.chunks(length.div_ceil(2)).for_each(|tokens| row.push(tokens, &vec![1.0; tokens.len()]));
        row
    };
    let batch = Batch::new(&(0..rows).map(row).collect::<Vec<_>>(), &config)?;
    let (mut optimiser, mut average) = (AdamW::new(AdamWConfig::default()), Average::new(&model, 0.99));
    let mut best = [f64::INFINITY; 5];
    for _ in 0..10 {
        let mut times = Vec::new();
        let mut start = Instant::now();
        let mut lap = || times.push(std::mem::replace(&mut start, Instant::now()).elapsed().as_secs_f64() * 1e3);
        let loss = model.losses(&batch).mean();
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
    for (what, time) in ["forward", "backward", "collect", "AdamW", "mean"].iter().zip(best) {
        println!("{what:10} {time:8.1} ms");
    }
    let all: f64 = best.iter().sum::<f64>() / 1e3;
    let tokens = (rows * length) as f64 / all;
    println!(
        "{:10} {:8.1} ms, {tokens:.0} tokens a second, {:.2} million parameters: {:.0} GFLOP/s in their products",
        "step",
        all * 1e3,
        count as f64 / 1e6,
        6.0 * count as f64 * tokens / 1e9
    );
    Ok(())
}
