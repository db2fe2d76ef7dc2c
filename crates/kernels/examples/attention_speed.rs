//! Speed of attention of one position over caches of several layers, as of a token behind so many others, beside a plain read of
//! as much memory by the same threads: GB/s, medians.
//!
//! ```text
//! cargo run --release -p jielong-kernels --example attention_speed [-- THREADS POSITIONS LAYERS]
//! ```

use std::hint::black_box;
use std::time::Instant;

use jielong_kernels::{Attention, CacheType, Cpu, KvStore, attend, read_time};

/// Heads of the cache, query heads for each, values of a head: those of Llama-3.2-1B.
const SHAPE: [usize; 3] = [8, 4, 64];

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|number| number.parse().ok()).collect();
    let number = |index: usize, default| numbers.get(index).copied().unwrap_or(default);
    let (threads, positions, layers) = (number(0, 2), number(1, 8000), number(2, 16));
    let cpu = Cpu::new(threads);
    let [heads, group, dim] = SHAPE;
    let q: Vec<f32> = (0..heads * group * dim).map(|i| (i % 31) as f32 / 31.0 - 0.5).collect();
    let plain = vec![1u8; 1 << 29];
    println!("cache   attention   plain read   share");
    for (name, cells) in [("f32", CacheType::F32), ("f16", CacheType::F16), ("q8", CacheType::Q8)] {
        let mut stores: Vec<KvStore> = (0..layers).map(|_| KvStore::new(cells, heads, dim, positions)).collect();
        let cell: Vec<f32> = (0..heads * dim).map(|i| (i % 29) as f32 / 29.0 - 0.5).collect();
        for store in &mut stores {
            (0..positions).for_each(|at| store.append(at, &cell, &cell));
        }
        let bytes = (layers * 2 * heads * positions * cells.bytes(dim)) as f64;
        let attention = Attention { heads: heads * group, scale: 0.125, softcap: None, window: None };
        let mut out = vec![0.0; q.len()];
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..25 {
            let mut run = || stores.iter().for_each(|s| attend(&cpu, s, &attention, &q, positions - 1, &mut out));
            run(); // a small cache is in the processor's then
            let start = Instant::now();
            run();
            rates[0].push(bytes / start.elapsed().as_secs_f64() / 1e9);
            black_box(&out);
            rates[1].push(plain.len() as f64 / read_time(&cpu, &[&plain]).as_secs_f64() / 1e9);
        }
        let [ours, plain] = rates.map(|mut rates| {
            rates.sort_by(f64::total_cmp);
            rates[rates.len() / 2]
        });
        println!("{name:5} {ours:11.1} {plain:12.1} {:6.0} %", 100.0 * ours / plain);
    }
}
