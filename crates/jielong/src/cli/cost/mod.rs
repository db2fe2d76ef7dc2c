//! `jielong cost`: what pixels and samples cost beside codes.

mod machine;
mod measure;
mod price;
mod quality;
mod report;
mod works;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use clap::builder::RangedU64ValueParser;
use jielong::pipeline::{Pipeline, Settings};
use jielong::shapes::published;
use jielong_core::Model;
use jielong_kernels::{CacheType, Cpu, Dtype, keep_memory};
use jielong_llama::{Compute, Llama};
use jielong_nn::device::DeviceChoice;

use super::model_args::ModelArgs;
use super::{Global, files, output};
use machine::Machine;
use measure::Measured;
use price::Subject;
use quality::Quality;
use report::Report;
use works::{Hop, Length, Size, Units, Work};

/// Compare pixels and samples with codes: steps, arithmetic, memory, time, and what a codec loses
#[derive(ClapArgs)]
#[command(
    after_help = "Examples:\n  jielong cost\n  jielong cost --image 256x256 --shape smollm2-135m,llama3.2-1b\n  \
    jielong cost -m smollm2 --measure 20 --plot cost.png\n  jielong cost --quality smile.png hello.wav\n\n\
    A pixel is one token of a palette, a sample one of 8-bit µ-law; a code stands for a patch or a frame. The token that\n\
    begins a picture or a sound is the prompt. Weights and cache are read once a step. Predicted times are the least that\n\
    the measured speed of this machine allows; extrapolated ones follow measured steps of the model."
)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Published shapes, several if separated by commas: see configs/shapes.toml
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        default_value = "smollm2-135m",
        conflicts_with = "model"
    )]
    shape: Vec<String>,
    /// A picture of so many pixels (default: 1024x1024, and a minute of sound)
    #[arg(long, value_name = "WxH")]
    image: Option<Size>,
    /// A sound of so many seconds and samples a second (default: 60s@22050, and a picture)
    #[arg(long, value_name = "SECONDSs@RATE")]
    audio: Option<Length>,
    /// Pixels of a patch in each direction: one code
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    patch: usize,
    /// Milliseconds of a frame of sound
    #[arg(long, value_name = "MS", default_value = "20")]
    hop_ms: Hop,
    /// Codes of a frame of sound
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    books: usize,
    /// Count only those rows of the head whose tokens are legal: those of the palette, of µ-law, of the book
    #[arg(long, conflicts_with = "measure")]
    legal_head: bool,
    /// Time steps of the model for so many seconds, and extrapolate; shapes get random weights
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    measure: Option<f64>,
    /// Measure what the codecs that come with the program lose: on these pictures and recordings, or on what was held out of
    /// the data sets emoji and prompts
    #[arg(long, value_name = "FILE", num_args = 0..)]
    quality: Option<Vec<PathBuf>>,
    /// Print JSON, with exact numbers
    #[arg(long)]
    json: bool,
    /// Draw how time adds up, a PNG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0.0 && *seconds <= 3600.0);
    seconds.ok_or_else(|| "expected seconds above 0 and up to 3600".into())
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    let settings = args.model.settings(global)?;
    let works = args.works()?;
    let subjects = if args.model.named().is_some() {
        let local = args.model.local(global)?;
        vec![loaded(local.name.clone(), &Pipeline::open(&local, &settings)?.model, args.measure)?]
    } else {
        args.shape.iter().map(|name| shape(name, &settings, args.measure)).collect::<Result<_>>()?
    };
    let quality = args.quality.as_ref().map(|files| {
        keep_memory();
        let wanted = [args.image.is_some() || args.audio.is_none(), args.audio.is_some() || args.image.is_none()];
        let subject = quality::Subject { files, wanted, books: args.books, device: settings.device };
        Quality::measure(&subject, global)
    });
    let models = subjects.into_iter().map(|subject| subject.price(&works, args.legal_head)).collect();
    let report = Report { models, quality: quality.transpose()? };
    if let Some(path) = &args.plot {
        files::write(path, &report.plot().to_png()?).context("--plot")?;
    }
    let mut out = output::Output::new();
    if args.json { out.line(&report.json()?) } else { report.print(&mut out) }
}

impl Args {
    /// Pairs of many tokens and few: of both media, unless one is named.
    fn works(&self) -> Result<Vec<Work>> {
        let units = Units { patch: self.patch, hop: self.hop_ms, books: self.books };
        let (image, audio) = match (self.image, self.audio) {
            (None, None) => (Some(Size::default()), Some(Length::default())),
            given => given,
        };
        let mut works = Vec::new();
        if let Some(size) = image {
            works.extend(size.works(&units)?);
        }
        if let Some(length) = audio {
            works.extend(length.works(&units)?);
        }
        Ok(works)
    }
}

/// A model in memory.
fn loaded(model: String, llama: &Llama, measure: Option<f64>) -> Result<Subject> {
    llama.settle();
    let (shape, context) = (llama.shape(), llama.context());
    let cpu = match llama.compute() {
        Compute::Kernels { cpu, .. } => Some(&**cpu),
        Compute::Burn { .. } => None,
    };
    let machine = Machine::with(llama, cpu);
    let measured = measure.map(|seconds| Measured::of(llama, &shape, seconds)).transpose()?;
    Ok(Subject { model, context, shape, machine, measured })
}

/// A published shape: in memory only if it is to be measured.
fn shape(name: &str, settings: &Settings, measure: Option<f64>) -> Result<Subject> {
    if measure.is_some() {
        return loaded(name.to_owned(), &settings.random(name)?, measure);
    }
    let config = published(name)?;
    let dtype = settings.dtype.unwrap_or(Dtype::BF16);
    let (_, device) = settings.device.open()?;
    let on_card = matches!(device, DeviceChoice::Cuda(_));
    // On a card the cache is of the type of the weights.
    let cache = match (on_card, dtype) {
        (false, _) => settings.cache,
        (true, Dtype::F32) => CacheType::F32,
        (true, _) => CacheType::F16,
    };
    let shape = config.shape(dtype, cache);
    let machine = (!on_card).then(|| {
        let cpu = settings.cpu.clone().unwrap_or_else(|| Arc::new(Cpu::new(settings.threads)));
        Machine::without(&config, dtype, settings.layout, shape.weight_bytes(), &cpu)
    });
    let context = settings.context.unwrap_or(config.default_context());
    Ok(Subject { model: name.to_owned(), context, shape, machine, measured: None })
}
