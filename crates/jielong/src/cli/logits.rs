//! `jielong logits`: raw logits into a file, for comparing with any other program.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;
use jielong_core::Model;
use safetensors::tensor::{Dtype, TensorView};

use super::{Global, files, ids, model_args::ModelArgs};

/// Write raw logits to a safetensors file
#[derive(ClapArgs)]
#[command(after_help = "Example:\n  jielong logits -m FOLDER --ids 1,2,3 -o out.safetensors --all\n\n\
    The file holds one tensor `logits` of f32, [positions, vocabulary].")]
pub struct Args {
    /// Token ids, separated by commas
    #[arg(long, value_name = "IDS")]
    ids: String,
    #[command(flatten)]
    model: ModelArgs,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Logits after every position, not only the last
    #[arg(long)]
    all: bool,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    let ids = ids::parse(&args.ids)?;
    let pipeline = args.model.pipeline(global)?;
    let mut state = pipeline.model.new_state()?;
    let logits =
        if args.all { pipeline.model.logits(&ids, &mut state)? } else { pipeline.model.next(&ids, &mut state)?.0 };
    let vocab = pipeline.model.vocab_size();
    let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensor = TensorView::new(Dtype::F32, vec![logits.len() / vocab, vocab], &bytes)?;
    files::write(&args.output, &safetensors::serialize([("logits", tensor)], None)?)
}
