//! Times, rates and memory of a run.

use std::time::{Duration, Instant};

use jielong::pipeline::{Outcome, Pipeline};
use jielong_core::Model;
use serde_json::{Value, json};

/// When the process started.
pub struct Start(Instant, Duration);

impl Start {
    /// Now, plus what the process has already run for.
    pub fn now() -> Self {
        Self(Instant::now(), age().unwrap_or_default())
    }

    /// Time since the process started.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed() + self.1
    }
}

/// Age of this process, where the system tells (Linux).
fn age() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    // Field 22, counted from behind the name in brackets, in hundredths of a second.
    let ticks: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let up: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_secs_f64((up - ticks / 100.0).max(0.0)))
}

/// Largest resident memory of this process so far, in bytes, where the system tells (Linux).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The `timing` of `--json`, in seconds and tokens a second.
pub fn timing(outcome: &Outcome) -> Value {
    let speculation = outcome
        .speculation
        .map(|s| json!({ "proposed_tokens": s.proposed, "accepted_tokens": s.accepted, "passes": s.passes }));
    json!({
        "speculation": speculation,
        "prefill_seconds": outcome.prefill.as_secs_f64(),
        "prefill_tokens": outcome.read,
        "prefill_tokens_per_second": outcome.prefill_rate(),
        "reused_tokens": outcome.reused,
        "decode_seconds": outcome.decode.as_secs_f64(),
        "decode_tokens_per_second": outcome.decode_rate(),
        "peak_memory_bytes": peak_memory(),
    })
}

/// The lines of `--stats`, on standard error.
pub fn print(start: &Start, pipeline: &Pipeline, outcome: &Outcome, used: usize) {
    let context = pipeline.model.context();
    let first = start.elapsed() - outcome.decode;
    eprintln!(
        "prompt   {} tokens read in {:.2} s ({:.1} tokens/s), {} reused",
        outcome.read,
        outcome.prefill.as_secs_f64(),
        outcome.prefill_rate(),
        outcome.reused
    );
    eprintln!(
        "answer   {} tokens ({:.1} tokens/s), {}",
        outcome.ids.len(),
        outcome.decode_rate(),
        outcome.stop.as_str()
    );
    if let Some(s) = outcome.speculation {
        let share = 100.0 * s.accepted as f64 / s.proposed.max(1) as f64;
        eprintln!("guesses  {} of {} accepted ({share:.0} %), {} passes", s.accepted, s.proposed, s.passes);
    }
    eprintln!("context  {used} of {context} positions");
    let memory = peak_memory().map_or(String::new(), |bytes| format!(", peak memory {} MiB", bytes >> 20));
    eprintln!("process  first token after {:.2} s{memory}, device {}", first.as_secs_f64(), pipeline.device);
}
