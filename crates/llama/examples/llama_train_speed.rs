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
use jielong_nn::train::{AdamWConfig, Learner};

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
    let model = Llama::new(&config, 1, &[], &LoadOptions { compute, context: None })?;
    let row = |seed: usize| {
        let tokens: Vec<u32> = (0..length).map(|at| ((at * at + seed) * 7919 % vocab) as u32).collect();
        let mut row = Row::default();
        tokens.chunks(length.div_ceil(2)).for_each(|tokens| row.push(tokens, &vec![1.0; tokens.len()]));
        row
    };
    let batch = Batch::new(&(0..rows).map(row).collect::<Vec<_>>(), &config)?;
    let mut learner = Learner::new(model, AdamWConfig::default(), 0.99);
    let mut best = [f64::INFINITY; 3];
    for _ in 0..10 {
        let start = Instant::now();
        let loss = learner.module().losses(&batch).mean();
        let forward = start.elapsed();
        learner.add(loss, 1.0)?;
        let backward = start.elapsed();
        learner.update(1e-4)?;
        let times = [forward, backward - forward, start.elapsed() - backward];
        best.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time.as_secs_f64() * 1e3));
    }
    for (what, time) in ["forward", "backward", "update"].iter().zip(best) {
        println!("{what:10} {time:8.1} ms");
    }
    let all: f64 = best.iter().sum::<f64>() / 1e3;
    let (tokens, count) = ((rows * length) as f64 / all, learner.parameters() as f64);
    println!(
        "{:10} {:8.1} ms, {tokens:.0} tokens a second, {:.2} million parameters: {:.0} GFLOP/s in their products",
        "step",
        all * 1e3,
        count / 1e6,
        6.0 * count * tokens / 1e9
    );
    Ok(())
}
