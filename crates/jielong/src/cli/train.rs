//! `jielong train`: a model from a config and data.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use indicatif::ProgressBar;
use jielong::data::{Pictures, Sounds, Split};
use jielong_audio::codec::FrameConfig;
use jielong_image::plot::{Curve, lines};
use jielong_image::vq::VqConfig;
use jielong_kernels::keep_memory;
use jielong_nn::conv::set_training_factors;
use jielong_nn::device::{Device, DeviceChoice};
use jielong_nn::train::{End, Event, Numbers, Plan, Task, latest, read_table, run as train};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Global, files, interrupt, output, progress};

/// Train a codec for pictures or sound. An interrupted run goes on with the same command
#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  jielong data fetch emoji\n  jielong train configs/train/image-codec.toml\n  \
    jielong data fetch prompts\n  jielong train configs/train/audio-codec.toml\n\n\
    The folder of the run holds its checkpoints, loss.csv and scores.csv with their plots, samples of what is held out\n\
    beside their reconstructions, and in the end `codec`, a folder with config.toml and model.safetensors.")]
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

/// What a config says that is trained; the rest of it is that one's.
#[derive(Deserialize)]
struct Kind {
    kind: KindName,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KindName {
    ImageCodec,
    AudioCodec,
}

/// A task that ends in a codec.
trait CodecTraining: Task {
    /// Numbers of the codec.
    fn parameters(&self) -> usize;
    /// Writes the weights for use.
    fn write(&self, path: &Path) -> Result<()>;
    /// The last scores, if there are any.
    fn scores(&self) -> Option<Value>;
}

/// A run under way, whatever is trained.
struct Run<'a> {
    args: &'a Args,
    global: &'a Global,
    out: PathBuf,
    plan: Plan,
    /// What must be the same for a run to go on.
    recipe: String,
    choice: DeviceChoice,
    /// What is learned from, in words.
    data: String,
    /// The config of the codec.
    codec: String,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    keep_memory();
    let path = &args.recipe;
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let kind: Kind = toml::from_str(&text).with_context(|| path.display().to_string())?;
    match kind.kind {
        KindName::ImageCodec => image_codec(&args, global),
        KindName::AudioCodec => audio_codec(&args, global),
    }
}

fn image_codec(args: &Args, global: &Global) -> Result<()> {
    use jielong_image::train::{CodecTask, Files, TrainingConfig};
    let mut config = TrainingConfig::open(&args.recipe)?;
    let codec = VqConfig::open(&config.codec)?;
    let (device, run) = {
        let shown = TrainingConfig {
            codec: PathBuf::new(),
            out: PathBuf::new(),
            device: String::new(),
            data: jielong_image::train::DataConfig { scored: 0, ..config.data.clone() },
            plan: unmeasured(&config.plan),
            ..config.clone()
        };
        Run::new(args, global, (&mut config.plan, &config.out, &config.device), (&shown, &codec))?
    };
    let pictures = Pictures::open(&config.data.source, &global.sources)?;
    let of = |split| pictures.of(split).map(|entry| entry.path.clone()).collect::<Vec<_>>();
    let found = Files { train: of(Split::Train), held_out: of(Split::HeldOut) };
    let data = format!("{} pictures to learn from, {} held out", found.train.len(), found.held_out.len());
    set_training_factors(config.factors.into());
    Run { data, ..run }.train(CodecTask::new(config, codec, found, &device)?)
}

fn audio_codec(args: &Args, global: &Global) -> Result<()> {
    use jielong_audio::train::{CodecTask, Files, TrainingConfig};
    let mut config = TrainingConfig::open(&args.recipe)?;
    let codec = FrameConfig::open(&config.codec)?;
    let (device, run) = {
        let shown = TrainingConfig {
            codec: PathBuf::new(),
            out: PathBuf::new(),
            device: String::new(),
            data: jielong_audio::train::DataConfig { scored: 0, ..config.data.clone() },
            plan: unmeasured(&config.plan),
            ..config.clone()
        };
        Run::new(args, global, (&mut config.plan, &config.out, &config.device), (&shown, &codec))?
    };
    let sounds = Sounds::open(&config.data.source, &global.sources)?;
    let of = |split| sounds.of(split).map(|entry| entry.path.clone()).collect::<Vec<_>>();
    let found = Files { train: of(Split::Train), held_out: of(Split::HeldOut) };
    let data = format!("{} recordings to learn from, {} held out", found.train.len(), found.held_out.len());
    Run { data, ..run }.train(CodecTask::new(config, codec, found, &device)?)
}

/// A plan without what may change when a run goes on: how long it takes and how often it is looked at.
fn unmeasured(plan: &Plan) -> Plan {
    Plan { steps: 0, log_every: 0, evaluate_every: 0, save_every: 0, ..plan.clone() }
}

impl<'a> Run<'a> {
    /// The device, and the run of a config: its plan, where it is and what computes it; the config and the codec's as they must
    /// be for the run to go on.
    fn new(
        args: &'a Args,
        global: &'a Global,
        (plan, out, device): (&mut Plan, &Path, &str),
        (config, codec): (&impl Serialize, &impl Serialize),
    ) -> Result<(Device, Self)> {
        if let Some(steps) = args.steps {
            plan.steps = steps;
        }
        let out = args.out.clone().unwrap_or_else(|| out.to_path_buf());
        let (device, choice) = args.device.map_or_else(|| device.parse(), Ok)?.open()?;
        let codec = toml::to_string(codec)?;
        let recipe = format!("{}\n[shape]\n{codec}", toml::to_string(config)?);
        let plan = plan.clone();
        Ok((device, Self { args, global, out, plan, recipe, choice, data: String::new(), codec }))
    }

    fn train<T: CodecTraining>(&self, mut task: T) -> Result<()> {
        let mut report = Report::new(self.global, self.args.json, &self.out);
        let millions = task.parameters() as f64 / 1e6;
        report.note(&format!("{millions:.1} million parameters, {}, on {}", self.data, self.choice));
        let flag = interrupt::flag();
        let mut failed = None;
        let end = train(&mut task, (&self.plan, &self.recipe), &self.out, flag, &mut |event| {
            if let Err(error) = report.event(event, &self.plan) {
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
        let folder = self.finish(&mut task)?;
        report.end(task.scores(), &folder)
    }

    /// Writes the codec beside its run.
    fn finish<T: CodecTraining>(&self, task: &mut T) -> Result<PathBuf> {
        if task.scores().is_none() {
            // The run was finished before: its last checkpoint is read, nothing is trained.
            let (Some((manifest, folder)), _) = latest(&self.out)? else {
                bail!("{} has no checkpoint", self.out.display())
            };
            task.load(&folder)
                .map_err(|error| anyhow::anyhow!("{error}"))
                .with_context(|| format!("step {}", manifest.step))?;
        }
        let folder = self.out.join("codec");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        task.write(&folder.join("model.safetensors"))?;
        files::write(&folder.join("config.toml"), self.codec.as_bytes())?;
        Ok(folder)
    }
}

impl CodecTraining for jielong_image::train::CodecTask {
    fn parameters(&self) -> usize {
        self.parameters()
    }

    fn write(&self, path: &Path) -> Result<()> {
        Ok(self.result().save_f16(path)?)
    }

    fn scores(&self) -> Option<Value> {
        self.score().map(|score| {
            json!({ "psnr": score.psnr, "ssim": score.ssim, "usage": score.usage(),
                    "perplexity": score.perplexity(), "pictures": score.pictures })
        })
    }
}

impl CodecTraining for jielong_audio::train::CodecTask {
    fn parameters(&self) -> usize {
        self.parameters()
    }

    fn write(&self, path: &Path) -> Result<()> {
        Ok(self.result().save_f16(path)?)
    }

    fn scores(&self) -> Option<Value> {
        self.score().map(|score| {
            json!({ "stoi": score.stoi.0, "estoi": score.estoi.0, "mel": score.mel.0, "usage": score.usage(),
                    "perplexity": score.perplexity(), "recordings": score.recordings })
        })
    }
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
                    scores.iter().for_each(|(name, value)| line[name] = (*value).into());
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

    fn end(&mut self, scores: Option<Value>, folder: &Path) -> Result<()> {
        let model = folder.join("model.safetensors");
        let bytes = std::fs::metadata(&model).with_context(|| model.display().to_string())?.len();
        if self.json {
            let line = json!({ "codec": folder, "bytes": bytes, "score": scores.unwrap_or(Value::Null) });
            return self.print(&line.to_string());
        }
        self.print(&format!("codec: {} ({})", folder.display(), output::bytes(bytes)))
    }
}

fn text(scores: &Numbers) -> String {
    let one = |(name, value): &(String, f64)| match name.as_str() {
        "psnr" => format!("PSNR {value:.2} dB"),
        "ssim" => format!("SSIM {value:.4}"),
        "stoi" | "estoi" => format!("{} {value:.3}", name.to_uppercase()),
        "mel" => format!("mel distance {value:.3}"),
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
