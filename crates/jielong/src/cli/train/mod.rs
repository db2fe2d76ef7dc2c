//! `jielong train`: a model from a config and data.

mod codecs;
mod report;
mod samples;
mod transformer;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use jielong_kernels::keep_memory;
use jielong_nn::device::{Device, DeviceChoice};
use jielong_nn::train::{End, Plan, Task, latest, run as train};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use jielong::toml_file;

use super::{Global, files, interrupt};
use report::Report;

/// Train a codec for pictures or sound, or a transformer. An interrupted run goes on with the same command
#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  jielong data fetch emoji\n  jielong train configs/train/image-codec.toml\n  \
    jielong data fetch prompts\n  jielong train configs/train/audio-codec.toml\n  \
    jielong train configs/train/mini.toml\n\n\
    The folder of the run holds its checkpoints, loss.csv and scores.csv with their plots, samples of what is\n\
    held out beside what was made of it, and in the end the result: `codec`, with config.toml and model.safetensors, or `model`,\n\
    which is a Hugging Face folder of the Llama architecture.")]
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
    /// Other devices than the config's: auto, cpu, cuda or cuda:N. Several, as in cuda:0,cuda:1, share out the batches of a transformer
    #[arg(long, value_name = "DEVICES")]
    device: Option<String>,
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
    Transformer,
}

/// A task that ends in a model.
trait Training: Task {
    /// The folder of the result, in that of the run.
    const RESULT: &'static str;
    /// The file in it that says what it is.
    const CONFIG: &'static str;
    /// Numbers of the model.
    fn parameters(&self) -> usize;
    /// Writes the weights for use, and what belongs to them, into a folder.
    fn write(&self, folder: &Path) -> Result<()>;
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
    /// What computes it, by name.
    choices: Vec<DeviceChoice>,
    /// What is learned from, in words.
    data: String,
    /// What the result says that it is.
    shape: String,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    keep_memory();
    let path = &args.recipe;
    match toml_file::read::<Kind>(path)?.kind {
        KindName::ImageCodec => codecs::image(&args, global),
        KindName::AudioCodec => codecs::audio(&args, global),
        KindName::Transformer => transformer::train(&args, global),
    }
}

/// Keys of configs that may change when a run goes on: where things are and what computes, how long it takes and how often it is
/// looked at, and how answers are drawn of what is learned alike.
const FREE: [&[&str]; 11] = [
    &["codec"],
    &["vocab"],
    &["out"],
    &["device"],
    &["scored"],
    &["data", "scored"],
    &["plan", "steps"],
    &["plan", "log_every"],
    &["plan", "evaluate_every"],
    &["plan", "save_every"],
    &["task", "sampling"],
];

/// A config without what may change when a run goes on.
fn essential(config: &impl Serialize) -> Result<toml::Value> {
    fn remove(value: &mut toml::Value, path: &[&str]) {
        match (value, path) {
            (toml::Value::Array(all), _) => all.iter_mut().for_each(|value| remove(value, path)),
            (toml::Value::Table(table), [last]) => drop(table.remove(*last)),
            (toml::Value::Table(table), [first, rest @ ..]) => {
                table.get_mut(*first).into_iter().for_each(|value| remove(value, rest));
            }
            _ => {}
        }
    }
    let mut value = toml::Value::try_from(config)?;
    FREE.iter().for_each(|path| remove(&mut value, path));
    Ok(value)
}

impl<'a> Run<'a> {
    /// The devices, and the run of a config: its plan, where it is and what computes it; what of the config and of the result must
    /// be the same for the run to go on.
    fn new(
        args: &'a Args,
        global: &'a Global,
        (plan, out, devices): (&mut Plan, &Path, &str),
        (essential, shape): (&toml::Value, &impl Serialize),
    ) -> Result<(Vec<Device>, Self)> {
        if let Some(steps) = args.steps {
            plan.steps = steps;
        }
        let out = args.out.clone().unwrap_or_else(|| out.to_path_buf());
        let asked = DeviceChoice::several(args.device.as_deref().unwrap_or(devices)).context("`device`")?;
        let opened = asked.into_iter().map(DeviceChoice::open).collect::<Result<Vec<_>, _>>()?;
        let (devices, choices) = opened.into_iter().unzip();
        let shape = toml::to_string(shape)?;
        let recipe = format!("{}\n[shape]\n{shape}", toml::to_string(essential)?);
        let plan = plan.clone();
        Ok((devices, Self { args, global, out, plan, recipe, choices, data: String::new(), shape }))
    }

    fn train<T: Training>(&self, mut task: T) -> Result<()> {
        let mut report = Report::new(self.global, self.args.json, &self.out);
        let millions = task.parameters() as f64 / 1e6;
        let devices = self.choices.iter().map(DeviceChoice::to_string).collect::<Vec<_>>().join(", ");
        report.note(&format!("{millions:.1} million parameters, {}, on {devices}", self.data));
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
        report.end(T::RESULT, task.scores(), &folder)
    }

    /// Writes the result beside its run.
    fn finish<T: Training>(&self, task: &mut T) -> Result<PathBuf> {
        if task.scores().is_none() {
            // The run was finished before: its last checkpoint is read, nothing is trained.
            let (Some((manifest, folder)), _) = latest(&self.out)? else {
                bail!("{} has no checkpoint", self.out.display())
            };
            task.load(&folder)
                .map_err(|error| anyhow::anyhow!("{error}"))
                .with_context(|| format!("step {}", manifest.step))?;
        }
        let folder = self.out.join(T::RESULT);
        let scratch = tempfile::Builder::new().prefix(".partial-").tempdir_in(&self.out);
        let scratch = scratch.with_context(|| format!("cannot write into {}", self.out.display()))?;
        let made = scratch.path().join(T::RESULT);
        std::fs::create_dir(&made).with_context(|| format!("cannot make {}", made.display()))?;
        task.write(&made)?;
        files::write(&made.join(T::CONFIG), self.shape.as_bytes())?;
        files::place(&made, &folder, scratch.path()).with_context(|| format!("cannot write {}", folder.display()))?;
        Ok(folder)
    }
}
