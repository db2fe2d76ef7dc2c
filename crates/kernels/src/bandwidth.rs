//! The limit that decoding is held to: how fast the threads can read the memory that the weights are in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Cpu;

/// Bytes that a thread reads before it takes more.
const TASK: usize = 1 << 20;

/// The time in which all threads read these bytes once and do nothing else.
///
/// It is measured on the bytes that are meant, because memory is not all alike: which chips, and which node of a large
/// machine, they lie on makes a difference of up to a half.
pub fn read_time(cpu: &Cpu, parts: &[&[u8]]) -> Duration {
    let tasks: Vec<&[u8]> = parts.iter().flat_map(|part| part.chunks(TASK)).collect();
    let total = AtomicU64::new(0);
    let start = Instant::now();
    cpu.pool.run(tasks.len(), |task| {
        let mut sums = [0u64; 32];
        for run in tasks[task].as_chunks::<256>().0 {
            for (sum, word) in sums.iter_mut().zip(run.as_chunks::<8>().0) {
                *sum = sum.wrapping_add(u64::from_ne_bytes(*word));
            }
        }
        total.fetch_add(sums.iter().fold(0, |total, sum| total.wrapping_add(*sum)), Ordering::Relaxed);
    });
    std::hint::black_box(total.into_inner());
    start.elapsed()
}
