//! The limit that decoding is held to: how fast the threads can read memory.

use std::time::Instant;

use crate::Cpu;

/// Bytes read by each pass: more than the caches hold.
const BYTES: usize = 512 << 20;

/// The best of five passes that read 512 MiB on all threads, in bytes per second.
pub fn bandwidth(cpu: &Cpu) -> f64 {
    let words = vec![1u64; BYTES / 8];
    let threads = cpu.threads();
    let part = words.len() / threads;
    let pass = |_| {
        let total = std::sync::atomic::AtomicU64::new(0);
        let start = Instant::now();
        cpu.pool.run(threads, |thread| {
            let mut sums = [0u64; 32];
            for run in words[thread * part..(thread + 1) * part].as_chunks::<32>().0 {
                for (sum, word) in sums.iter_mut().zip(run) {
                    *sum = sum.wrapping_add(*word);
                }
            }
            total.fetch_add(sums.iter().sum(), std::sync::atomic::Ordering::Relaxed);
        });
        std::hint::black_box(total.into_inner());
        (part * threads * 8) as f64 / start.elapsed().as_secs_f64()
    };
    (0..5).map(pass).fold(0.0, f64::max)
}
