//! `jielong train`: a model from a config and data.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use indicatif::ProgressBar;
use jielong::data::{Pictures, Split};
use jielong_image::plot::{Curve, lines};
use jielong_image::train::{CodecTask, Files, TrainingConfig};
use jielong_image::vq::VqConfig;
use jielong_kernels::keep_memory;
use jielong_nn::conv::set_training_factors;
use jielong_nn::device::DeviceChoice;
use jielong_nn::train::{End, Event, Numbers, Plan, latest, read_table, run as train};
use serde_json::{Value, json};

use super::{Global, files, interrupt, output, progress};

/// Train a codec for pictures. An interrupted run goes on with the same command
#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  jielong data fetch emoji\n  jielong train configs/train/image-codec.toml\n\n\
    The folder of the run holds its checkpoints, loss.csv and scores.csv with their plots, samples of held-out pictures\n\
    above their reconstructions, and in the end `codec`, a folder with config.toml and model.safetensors.")]
pub struct Args {
    /// What is trained, how and on what: see configs/train
    #[arg(value_name = "CONFIG")]
    recipe: PathBuf,
    /// Another folder for the run than the config's
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Another number of steps than the config's
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Another device than the config's: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceChoice>,
    /// Print JSON: one line for each evaluation, and one at the end
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    keep_memory();
    let mut config = TrainingConfig::open(&args.recipe)?;
    if let Some(steps) = args.steps {
        config.plan.steps = steps;
    }
    let out = args.out.clone().unwrap_or_else(|| config.out.clone());
    let codec = VqConfig::open(&config.codec)?;
    let choice = args.device.map_or_else(|| config.device.parse(), Ok)?;
    let (device, choice) = choice.open()?;
    let pictures = Pictures::open(&config.data.source, &global.sources)?;
    let of = |split| pictures.of(split).map(|entry| entry.path.clone()).collect::<Vec<_>>();
    let found = Files { train: of(Split::Train), held_out: of(Split::HeldOut) };
    let (train_count, held_out) = (found.train.len(), found.held_out.len());
    let (plan, recipe) = (config.plan.clone(), recipe(&config, &codec)?);
    set_training_factors(config.factors.into());
    let mut task = CodecTask::new(config, codec.clone(), found, &device)?;
    let mut report = Report::new(global, args.json, &out);
    report.note(&format!(
        "{:.1} million parameters, {train_count} pictures to learn from, {held_out} held out, on {choice}",
        task.parameters() as f64 / 1e6
    ));
    let flag = interrupt::flag();
    let mut failed = None;
    let end = train(&mut task, (&plan, &recipe), &out, flag, &mut |event| {
        if let Err(error) = report.event(event, &plan) {
            // Training matters more than what is printed about it; but nobody may be there to read any more.
            flag.store(true, Ordering::Relaxed);
            failed = Some(error);
        }
    });
    report.finish();
    let end = end?;
    if let Some(error) = failed {
        return Err(error);
    }
    if let End::Interrupted(step) = end {
        report.note(&format!("stopped after step {step}; the same command goes on from there"));
        std::process::exit(interrupt::INTERRUPTED);
    }
    let folder = finish(&mut task, &codec, &out)?;
    report.end(&task, &folder)
}

/// What must be the same for a run to go on. How long it takes, how often it is looked at, where it is and what computes it
/// may change.
fn recipe(config: &TrainingConfig, codec: &VqConfig) -> Result<String> {
    let mut config = config.clone();
    config.codec = PathBuf::new();
    config.out = PathBuf::new();
    config.device = String::new();
    config.data.scored = 0;
    config.plan = Plan { steps: 0, log_every: 0, evaluate_every: 0, save_every: 0, ..config.plan };
    Ok(format!("{}\n[shape]\n{}", toml::to_string(&config)?, toml::to_string(codec)?))
}

/// Writes the codec beside its run.
fn finish(task: &mut CodecTask, codec: &VqConfig, out: &Path) -> Result<PathBuf> {
    if task.score().is_none() {
        // The run was finished before: its last checkpoint is read, nothing is trained.
        let (Some((manifest, folder)), _) = latest(out)? else { bail!("{} has no checkpoint", out.display()) };
        jielong_nn::train::Task::load(task, &folder)
            .map_err(|error| anyhow::anyhow!("{error}"))
            .with_context(|| format!("step {}", manifest.step))?;
    }
    let folder = out.join("codec");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    task.result().save_f16(&folder.join("model.safetensors"))?;
    files::write(&folder.join("config.toml"), toml::to_string(codec)?.as_bytes())?;
    Ok(folder)
}

/// What a user sees of a run.
struct Report<'a> {
    out: &'a Path,
    json: bool,
    quiet: bool,
    bar: Option<ProgressBar>,
    output: output::Output,
}

impl<'a> Report<'a> {
    fn new(global: &Global, json: bool, out: &'a Path) -> Self {
        Self { out, json, quiet: global.quiet, bar: progress::training(global), output: output::Output::new() }
    }

    /// For whoever sits there, not for a pipe.
    fn note(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) if !bar.is_finished() => bar.println(text),
            _ => eprintln!("{text}"),
        }
    }

    fn event(&mut self, event: Event, plan: &Plan) -> Result<()> {
        match event {
            Event::Damaged(error) => {
                self.note(&format!("warning: a checkpoint cannot be used, an earlier one is: {error}"));
            }
            Event::Resumed(step) => self.note(&format!("going on after step {step}")),
            Event::Stepped { step, losses, left } => {
                if let Some(bar) = &self.bar {
                    bar.set_length(plan.steps);
                    bar.set_position(step.number);
                    let loss = losses.first().map_or(f64::NAN, |loss| loss.1);
                    bar.set_message(format!("loss {loss:.4}, {} left", duration(left)));
                }
            }
            Event::Evaluated { step, scores } => {
                self.plot("loss")?;
                self.plot("scores")?;
                if self.json {
                    let mut line = json!({ "step": step.number });
                    scores.iter().for_each(|&(name, value)| line[name] = value.into());
                    self.print(&line.to_string())?;
                } else {
                    self.print(&format!("step {:>7}  {}", step.number, text(scores)))?;
                }
            }
            Event::Saved { .. } => {}
        }
        Ok(())
    }

    fn print(&mut self, line: &str) -> Result<()> {
        let print = |output: &mut output::Output| {
            output.line(line)?;
            output.flush()
        };
        match &self.bar {
            Some(bar) => bar.suspend(|| print(&mut self.output)),
            None => print(&mut self.output),
        }
    }

    /// Draws a table of the run, if it is there yet.
    fn plot(&self, name: &str) -> Result<()> {
        let path = self.out.join(name).with_extension("csv");
        if !path.is_file() {
            return Ok(());
        }
        let (names, rows) = read_table(&path)?;
        let about = ["step", "epoch", "seconds", "rate", "perplexity"];
        let columns = names.iter().enumerate().filter(|(_, name)| !about.contains(&name.as_str()));
        let curve = |(column, name): (usize, &String)| {
            let points = rows.iter().filter_map(|row| Some([*row.first()?, *row.get(column)?])).collect();
            Curve { name: name.clone(), points }
        };
        let plot = lines(&format!("{name} by step"), &columns.map(curve).collect::<Vec<_>>());
        files::write(&path.with_extension("png"), &plot.to_png()?)
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn end(&mut self, task: &CodecTask, folder: &Path) -> Result<()> {
        let model = folder.join("model.safetensors");
        let bytes = std::fs::metadata(&model).with_context(|| model.display().to_string())?.len();
        if self.json {
            let score = task.score().map(|score| {
                json!({ "psnr": score.psnr, "ssim": score.ssim, "usage": score.usage(),
                        "perplexity": score.perplexity(), "pictures": score.pictures })
            });
            let line = json!({ "codec": folder, "bytes": bytes, "score": score.unwrap_or(Value::Null) });
            return self.print(&line.to_string());
        }
        self.print(&format!("codec: {} ({})", folder.display(), output::bytes(bytes)))
    }
}

fn text(scores: &Numbers) -> String {
    let one = |&(name, value): &(&str, f64)| match name {
        "psnr" => format!("PSNR {value:.2} dB"),
        "ssim" => format!("SSIM {value:.4}"),
        "usage" => format!("codes used {:.1} %", 100.0 * value),
        _ => format!("{name} {value:.1}"),
    };
    scores.iter().map(one).collect::<Vec<_>>().join("  ")
}

/// Hours and minutes, or minutes and seconds.
fn duration(left: Duration) -> String {
    let seconds = left.as_secs();
    match seconds {
        3600.. => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}
