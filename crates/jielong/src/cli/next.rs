//! `jielong next`: what may come next, and how likely.

use std::time::Instant;

use anyhow::Result;
use clap::Args as ClapArgs;
use jielong_core::{Model, ModelError};
use jielong_text::Specials;
use serde_json::{Value, json};

use super::{Global, ids, model_args::ModelArgs, output};

/// Show the most likely next tokens
#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  jielong next \"1+1=\"\n  jielong next \"在二進位中,1+1=\" --top 5 --json")]
pub struct Args {
    /// What comes before; - reads standard input
    #[arg(required_unless_present = "ids", conflicts_with = "ids")]
    prompt: Option<String>,
    /// Token ids in place of a prompt, separated by commas
    #[arg(long, value_name = "IDS")]
    ids: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// How many tokens to show
    #[arg(short = 'k', long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Do not add the tokenizer's special tokens
    #[arg(long)]
    no_special: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    let pipeline = args.model.pipeline(global)?;
    let prompt = match &args.ids {
        Some(list) => ids::parse(list)?,
        None => {
            let text = ids::text_or_stdin(args.prompt.as_deref().unwrap_or_default())?;
            let specials = if args.no_special { Specials::None } else { Specials::Add };
            pipeline.tokenizer()?.encode(&text, specials)?
        }
    };
    let start = Instant::now();
    let mut state = pipeline.model.new_state()?;
    let logits = pipeline.model.next(&prompt, &mut state)?;
    let seconds = start.elapsed().as_secs_f64();
    let log_probs = logits.log_probs().ok_or(ModelError::NotFinite { position: prompt.len() - 1 })?;
    let top = log_probs.top(args.top);
    let text = |token| pipeline.assets.tokenizer.as_ref().and_then(|t| t.text(token));
    let mut out = output::Output::new();
    if args.json {
        let top: Vec<Value> = top.iter().map(|&(token, p)| json!([token, text(token), p])).collect();
        let rate = prompt.len() as f64 / seconds;
        return out.json(&json!({
            "model": pipeline.name,
            "prompt_ids": prompt,
            "top": top,
            "timing": { "prefill_seconds": seconds, "prefill_tokens": prompt.len(), "prefill_tokens_per_second": rate },
        }));
    }
    let best = top.first().map_or(1.0, |(_, p)| f64::from(*p).exp());
    let rows: Vec<Vec<String>> = top
        .iter()
        .map(|&(token, p)| {
            let share = f64::from(p).exp();
            let text = text(token).map_or(String::new(), |t| format!("{t:?}"));
            vec![
                format!("{:6.2} %", 100.0 * share),
                format!("{:20}", output::bar(share / best)),
                format!("{:>7}", token.0),
                text,
            ]
        })
        .collect();
    out.table(&["", "", "     id", "token"], &rows)
}
