//! What a mixed model can be asked, as commands that read well.

pub mod audio;
pub mod generate;
pub mod image;

use anyhow::{Result, ensure};
use clap::Args as ClapArgs;
use jielong::mixed::{Answer, Ask, File, MOST_CANDIDATES, Mixed, Take};
use jielong_core::StopReason;
use jielong_kernels::keep_memory;
use serde_json::{Value, json};

use super::model_args::{ModelArgs, pull};
use super::sampling::SamplingArgs;
use super::{Global, interrupt, progress};

/// The mixed model of those who name none.
const DEFAULT: &str = "mini";

/// The model, and how its answers are drawn.
#[derive(ClapArgs)]
pub struct MixedArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    decoding: Decoding,
}

/// How an answer comes to be, besides the drawing of its tokens.
#[derive(ClapArgs, Clone, Copy)]
pub struct Decoding {
    /// Follow the words more closely than the model does by itself (above 1); twice the work
    #[arg(long, value_name = "G", help_heading = "Sampling")]
    guidance: Option<f32>,
    /// Draw so many pictures and make one of them; 1: the first
    #[arg(long, value_name = "N", help_heading = "Sampling", value_parser = clap::value_parser!(u32).range(1..=MOST_CANDIDATES as i64))]
    consensus: Option<u32>,
    /// Which one to make of them
    #[arg(long, value_name = "WHICH", help_heading = "Sampling")]
    take: Option<Take>,
}

impl MixedArgs {
    /// The model, loaded.
    pub fn open(&self, global: &Global) -> Result<Mixed> {
        open(&self.model, global)
    }

    /// A question, answered as the user says, or else as the task does.
    pub fn ask<'a>(&self, mixed: &Mixed, ask: Ask<'a>) -> Result<Ask<'a>> {
        drawn(mixed, ask, &self.sampling, self.decoding)
    }

    /// So many answers to a question; fewer if they are interrupted, but one.
    fn answers(&self, mixed: &Mixed, ask: Ask, count: usize, global: &Global) -> Result<Vec<Answer>> {
        answers(mixed, self.ask(mixed, ask)?, count, global)
    }
}

/// The mixed model that the user names, or `mini`.
fn open(model: &ModelArgs, global: &Global) -> Result<Mixed> {
    keep_memory();
    Mixed::open(&pull(model.named().unwrap_or(DEFAULT), global)?, &model.settings(global)?)
}

/// A question with what the user says of how it is answered.
fn drawn<'a>(mixed: &Mixed, ask: Ask<'a>, sampling: &SamplingArgs, decoding: Decoding) -> Result<Ask<'a>> {
    let picture = mixed.media.file(ask.kind) == File::Picture;
    ensure!(picture || decoding.consensus.is_none(), "--consensus: only pictures are compared");
    let consensus = decoding.consensus.map_or(ask.consensus, |count| count as usize);
    let guidance = decoding.guidance.unwrap_or(ask.guidance);
    ensure!(consensus > 1 || decoding.take.is_none(), "--take chooses among several: say --consensus 8, for instance");
    let take = decoding.take.unwrap_or(ask.take);
    Ok(Ask { guidance, consensus, take, sampling: sampling.config(ask.sampling, &mixed.pipeline)?, ..ask })
}

/// Answers with seeds that follow each other.
fn answers(mixed: &Mixed, ask: Ask, count: usize, global: &Global) -> Result<Vec<Answer>> {
    let mut ask = Ask { cancel: Some(interrupt::flag()), ..ask };
    let codes = ask.grid.iter().product::<usize>() * mixed.media.vocab.kinds()[ask.kind].frame();
    let expected = match ask.grid.is_empty() {
        true => ask.max_new_tokens,
        false => codes.saturating_sub(ask.begun.len()) * ask.consensus,
    };
    let bar = progress::counted(global, expected * count, "tokens");
    let mut answers: Vec<Answer> = Vec::new();
    for number in 0..count {
        let answer = mixed.answer(&ask, &mut |done| {
            if let Some(bar) = &bar {
                bar.set_position((number * expected + done) as u64);
            }
        })?;
        ask.sampling.seed = Some(answer.seed.wrapping_add(ask.consensus as u64));
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

/// How an answer came to be, as JSON.
fn report(mixed: &Mixed, answer: &Answer) -> Value {
    json!({
        "kind": mixed.media.vocab.kinds()[answer.segment.kind].name, "grid": answer.segment.grid,
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
