//! `jielong convert`: a model in the other format, or in other types.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::Result;
use clap::Args as ClapArgs;
use jielong::convert::{Conversion, Existing, convert};
use jielong_llama::export::Types;
use serde_json::json;

use super::{Global, interrupt, model_args, output, progress};

/// Write a model as a GGUF file or a Hugging Face folder, in the same or other types
#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  jielong convert Qwen/Qwen3-0.6B qwen3.gguf --dtype q4_k_m\n  \
    jielong convert smollm2 smollm2-folder --dtype bf16\n  jielong convert model.gguf smaller.gguf --dtype q4_0\n\n\
    A GGUF file is read by llama.cpp, a folder by Transformers. What the other format cannot say is refused, and\n\
    nothing is written then.")]
pub struct Args {
    /// An alias (see `jielong list`), a Hugging Face id, a folder or a GGUF file
    #[arg(value_name = "MODEL")]
    model: String,
    /// A GGUF file if it ends in .gguf, otherwise a folder
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Type of the matrices: f32, f16, bf16; in a GGUF file also q8_0, q6_k, q5_k, q4_k, q5_1, q5_0, q4_1, q4_0, or the
    /// mixtures q5_k_m and q4_k_m (default: as they are stored)
    #[arg(long, visible_alias = "quantize", value_name = "TYPE")]
    dtype: Option<Types>,
    /// Replace a model that is there
    #[arg(long)]
    force: bool,
    /// Threads (default: one for each physical core)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    let local = model_args::pull(&args.model, global)?;
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    let threads = args.threads.map(usize::from).or(global.user.threads).unwrap_or(0);
    let how = Conversion { types: args.dtype, existing, threads };
    let cancel = interrupt::flag();
    let mut bar = progress::Bytes::new(global, "writing");
    let written = convert(&local, &args.out, &how, &mut |done, total| {
        bar.advance_of(done, total);
        !cancel.load(Ordering::Relaxed)
    });
    bar.finish();
    let written = written?;
    let mut out = output::Output::new();
    if args.json {
        return out.json(&json!({ "path": written.path, "bytes": written.bytes, "tensors": written.types }));
    }
    let types: Vec<String> = written.types.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let (size, path) = (output::bytes(written.bytes), written.path.display());
    out.line(&format!("{path}: {size} of weights, tensors: {}", types.join(", ")))
}
