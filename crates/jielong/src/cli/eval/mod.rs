//! `jielong eval`: how good a mixed model is, on what was held out.

mod pictures;
mod sounds;
mod texts;
mod words;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};
use clap::Args as ClapArgs;
use indicatif::ProgressBar;
use jielong::data::Split;
use jielong::mixed::{Ask, Entry, File, Mixed, TaskConfig};
use jielong_core::{SamplerConfig, Segment};
use jielong_nn::train::spread;

use super::recipes::MixedArgs;
use super::{Global, interrupt, output, progress};

/// Score a mixed model on held-out subjects, task by task
#[derive(ClapArgs)]
#[command(
    after_help = "Examples:\n  jielong eval restyle\n  jielong eval restyle --limit 32 --sheet docs/restyle.png\n  \
    jielong eval describe -m runs/mini/model --json\n\n\
    Pictures: PSNR and SSIM against the held-out picture, beside what knows less (the input itself, a training picture) and the\n\
    codec's own round trip, which is the most that codes can say. Texts: letter for letter, the first that is drawn and any of five,\n\
    and the word error rate. Sounds: perplexity of their tokens, beside n-grams; of a model that writes as well as it says, the word\n\
    error rate of what it says, written again."
)]
pub struct Args {
    /// A task of the model, by its name in configs/train/mini.toml
    task: String,
    #[command(flatten)]
    model: MixedArgs,
    /// The most held-out examples, spread over all
    #[arg(long, value_name = "N", default_value_t = 128)]
    limit: usize,
    /// A sheet of all of them, a PNG file: what is given, what the model draws, what was held out
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
}

/// Two entries of one subject: what is given, and what is asked for.
#[derive(Clone, Copy)]
struct Case<'a> {
    other: &'a Entry,
    this: &'a Entry,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    let mixed = args.model.open(global)?;
    let task = mixed.config.task(&args.task)?;
    ensure!(args.limit > 0, "--limit 0: at least one example is needed");
    let answer = mixed.media.file(mixed.media.vocab.kind(&task.answer.kind)?);
    let kind = task.media(&mixed.media.vocab)?;
    let file = kind.map_or(File::Record, |kind| mixed.media.file(kind));
    let entries = Entry::all(&task.data, file, &global.sources)?;
    let cases = cases(task, &entries, args.limit);
    ensure!(!cases.is_empty(), "{} has no held-out example", task.data);
    let bar = progress::counted(global, cases.len(), "examples");
    let job = Job { args: &args, mixed: &mixed, task, entries: &entries, bar, global };
    let mut out = output::Output::new();
    match answer {
        File::Picture => pictures::score(&job, &cases, &mut out),
        File::Sound => sounds::score(&job, &cases, &mut out),
        File::Record => texts::score(&job, &cases, kind, &mut out),
    }
}

/// Held-out cases, spread over all.
fn cases<'a>(task: &TaskConfig, entries: &'a [Entry], limit: usize) -> Vec<Case<'a>> {
    let held_out = entries.iter().filter(|entry| entry.split == Split::HeldOut);
    let mut all: Vec<Case> = Vec::new();
    if task.parts().any(|part| part.of == "other") {
        let mut subjects: HashMap<&str, Vec<&Entry>> = HashMap::new();
        held_out.clone().for_each(|entry| subjects.entry(&entry.subject).or_default().push(entry));
        for this in held_out {
            let others = subjects[this.subject.as_str()].iter().filter(|other| other.file != this.file);
            all.extend(others.map(|other| Case { other, this }));
        }
    } else {
        all.extend(held_out.map(|this| Case { other: this, this }));
    }
    spread(&all, limit).copied().collect()
}

/// A model on its way through the cases.
struct Job<'a> {
    args: &'a Args,
    mixed: &'a Mixed,
    task: &'a TaskConfig,
    entries: &'a [Entry],
    bar: Option<ProgressBar>,
    global: &'a Global,
}

impl Job<'_> {
    /// Begins with another case.
    ///
    /// # Errors
    /// It was interrupted.
    fn step(&self) -> Result<()> {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        ensure!(!interrupt::flag().load(Ordering::Relaxed), "stopped");
        Ok(())
    }

    /// What is asked in a case.
    fn ask(&self, case: Case, given: Option<&Segment>) -> Result<Ask<'static>> {
        let field = |name: &str| case.this.fields.get(name).map(String::as_str);
        self.args.model.ask(self.mixed, self.mixed.ask_task(self.task, field, given)?)
    }

    /// The answer, begun with some codes: drawn as the task says, with a seed that is the number of the case.
    fn answer(&self, ask: &Ask, begun: &[u32], seed: u64) -> Result<Segment> {
        let sampling = SamplerConfig { seed: Some(seed), ..ask.sampling.clone() };
        let ask = Ask { begun: begun.to_vec(), sampling, ..ask.clone() };
        Ok(self.mixed.answer(&ask, &mut |_| {})?.segment)
    }

    /// Bits that the model takes to say an answer.
    fn bits(&self, ask: &Ask, answer: &Segment) -> Result<f64> {
        let (given, mut tokens) = (ask.prompt.tokens.len(), ask.prompt.tokens.clone());
        tokens.extend(self.mixed.media.vocab.frame(answer)?);
        let losses = self.mixed.losses(&tokens, given)?;
        Ok(losses.into_iter().map(|(loss, _)| loss).sum::<f64>() / std::f64::consts::LN_2)
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
