//! What a mixed model can be asked, as commands that read well.

pub mod audio;
pub mod generate;
pub mod image;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args as ClapArgs;
use jielong::mixed::{Answer, Ask, Mixed, Prompt, SamplingConfig, TaskConfig};
use jielong::pipeline::Settings;
use jielong_core::StopReason;
use jielong_kernels::keep_memory;
use jielong_nn::device::DeviceChoice;
use serde_json::{Value, json};

use super::{Global, interrupt, progress};

/// The mixed model of those who name none.
pub const DEFAULT: &str = "mini";

/// The model, and how its answers are drawn.
#[derive(ClapArgs)]
pub struct MixedArgs {
    /// `mini`, or the folder `model` of a run of `jielong train`
    #[arg(short, long, value_name = "MODEL", default_value = DEFAULT)]
    model: PathBuf,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Threads on the CPU (default: one for each physical core)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The same seed draws the same tokens
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Flatten (above 1) or sharpen (below 1) the distribution; 0 always takes the likeliest token
    #[arg(short = 't', long, value_name = "T")]
    temperature: Option<f32>,
    /// Keep the K most likely tokens
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Keep the likeliest tokens that together have probability P
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Follow the words more closely than the model does by itself (above 1); twice the work
    #[arg(long, value_name = "G")]
    guidance: Option<f32>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What is asked, besides how.
struct Question<'a> {
    task: &'a TaskConfig,
    prompt: Prompt,
    kind: usize,
    grid: Vec<usize>,
    begun: Vec<u32>,
    max_new_tokens: usize,
}

impl MixedArgs {
    /// The model, loaded.
    pub fn open(&self, global: &Global) -> Result<Mixed> {
        keep_memory();
        let threads = self.threads.or(global.user.threads).unwrap_or(0);
        ensure!(self.threads != Some(0), "--threads 0: at least one is needed");
        Mixed::open(&self.model, &Settings { device: self.device, threads, ..Settings::default() })
    }

    /// How an answer is drawn: as the user says, or else as the task does.
    pub fn sampling(&self, task: &TaskConfig) -> SamplingConfig {
        let Self { temperature, top_k, top_p, guidance, .. } = *self;
        SamplingConfig { temperature, top_k, top_p, guidance }.or(task.sampling)
    }

    /// So many answers; fewer if they are interrupted, but one.
    fn answers(&self, mixed: &Mixed, question: Question, count: usize, global: &Global) -> Result<Vec<Answer>> {
        let sampling = self.sampling(question.task);
        let expected = match question.grid.iter().product::<usize>() * mixed.vocab.kinds()[question.kind].frame() {
            codes if !question.grid.is_empty() => codes.saturating_sub(question.begun.len()),
            _ => question.max_new_tokens,
        };
        let bar = progress::counted(global, expected * count, "tokens");
        let mut answers: Vec<Answer> = Vec::new();
        for number in 0..count {
            let seed = match (self.seed, answers.first()) {
                (Some(seed), _) => Some(seed.wrapping_add(number as u64)),
                (None, Some(first)) => Some(first.seed.wrapping_add(number as u64)),
                (None, None) => None,
            };
            let ask = Ask {
                prompt: &question.prompt,
                kind: question.kind,
                grid: question.grid.clone(),
                begun: question.begun.clone(),
                guidance: sampling.guidance.unwrap_or(1.0),
                max_new_tokens: question.max_new_tokens,
                sampling: sampling.sampler(seed),
                cancel: Some(interrupt::flag()),
            };
            let answer = mixed.answer(&ask, &mut |done| {
                if let Some(bar) = &bar {
                    bar.set_position((number * expected + done) as u64);
                }
            })?;
            let over = answer.stop == StopReason::Cancelled;
            answers.push(answer);
            if over {
                break;
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        Ok(answers)
    }
}

/// How an answer came to be, as JSON.
fn report(mixed: &Mixed, answer: &Answer) -> Value {
    json!({
        "kind": mixed.vocab.kinds()[answer.segment.kind].name, "grid": answer.segment.grid,
        "codes": answer.segment.values, "generated": answer.generated, "stop": answer.stop,
        "logprob": answer.logprob, "seed": answer.seed,
    })
}

/// What is said where a user stopped an answer.
fn note_stop(answers: &[Answer], global: &Global) {
    if answers.iter().any(|answer| answer.stop == StopReason::Cancelled) && !global.quiet {
        eprintln!("stopped; what was there is kept, the rest is blank");
    }
}
