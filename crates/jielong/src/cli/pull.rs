//! `jielong pull`: fetch models before they are needed.

use anyhow::Result;
use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::{Global, model_args, output};

/// Fetch models, and say where they lie
#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  jielong pull smollm2\n  jielong pull Qwen/Qwen3-0.6B llama3.2:1b")]
pub struct Args {
    /// Aliases (see `jielong list`) or Hugging Face ids
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    let mut out = output::Output::new();
    let mut fetched: Vec<Value> = Vec::new();
    for name in &args.models {
        let local = model_args::pull(name, global)?;
        if args.json {
            fetched.push(json!({ "name": name, "path": local.path, "origin": local.origin, "license": local.license }));
        } else {
            let license = local.license.as_ref().map_or(String::new(), |l| format!(", {l}"));
            out.line(&format!("{name}: {} (from {}{license})", local.path.display(), local.origin))?;
        }
    }
    if args.json { out.json(&Value::Array(fetched)) } else { out.flush() }
}
