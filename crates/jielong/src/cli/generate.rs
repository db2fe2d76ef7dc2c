//! `jielong generate`: raw continuation of a prompt.

use std::io::Write;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use jielong::pipeline::{News, Outcome, Pipeline, TextRequest};
use jielong_core::{Model, Sampler, Step, Token};
use jielong_kernels::keep_memory;
use jielong_text::{Specials, Tokenizer};
use serde_json::{Value, json};

use super::recipes::generate::Drawing;
use super::speculation::SpeculationArgs;
use super::{Global, ids, interrupt, model_args::ModelArgs, output, progress, recipes, sampling, stats};

/// Continue a prompt, token by token: by text, or, with a model of several kinds, by any of them
#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  jielong generate \"Once upon a time\" -n 100\n  \
    jielong generate \"1+1=\" --probs 3\n  jielong generate -m FOLDER --ids 1,2,3 --json\n  \
    echo \"Dear\" | jielong generate - --temperature 0.8 --seed 1\n  \
    jielong generate -m mini --text twemoji --image smile.png --to image -o out.png")]
pub struct Args {
    /// What to continue; - reads standard input
    #[arg(required_unless_present_any = ["ids", "to"], conflicts_with_all = ["ids", "to"])]
    prompt: Option<String>,
    /// Token ids in place of a prompt, separated by commas
    #[arg(long, value_name = "IDS", conflicts_with = "to")]
    ids: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// At most so many new tokens
    #[arg(short = 'n', long, visible_alias = "max-tokens", value_name = "N", default_value_t = 256)]
    max_new_tokens: usize,
    /// End when this text appears; it is not printed (repeatable)
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Go on after an end token
    #[arg(long)]
    ignore_eos: bool,
    /// Do not add the tokenizer's special tokens to the prompt
    #[arg(long)]
    no_special: bool,
    /// Print the prompt before its continuation
    #[arg(long)]
    echo: bool,
    /// Print the id of every token
    #[arg(long)]
    show_ids: bool,
    /// Print the probability of every token, and of the N likeliest
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "5")]
    probs: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print times and memory at the end
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    mix: recipes::generate::MixArgs,
    #[command(flatten)]
    speculation: SpeculationArgs,
    #[command(flatten)]
    sampling: sampling::SamplingArgs,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    let start = stats::Start::now();
    if let Some(to) = &args.mix.to {
        let Args { model, sampling, max_new_tokens, json, .. } = &args;
        let drawing = Drawing { model, sampling, max_new_tokens: *max_new_tokens, json: *json };
        return args.mix.run(to, &drawing, global);
    }
    let settings = args.model.settings(global)?;
    let pipeline = Pipeline::open(&args.model.local(global)?, &settings)?;
    let draft = args.speculation.draft(&pipeline, &settings, global)?;
    keep_memory();
    let mut guesses = args.speculation.guesses(draft.as_ref())?;
    let prompt = prompt(&args, &pipeline)?;
    let base = global.sampling(sampling::recommended(&pipeline.assets.generation));
    let config = args.sampling.config(base, &pipeline)?;
    let mut sampler = Sampler::new(config, pipeline.model.vocab_size())?;
    let seed = sampler.seed();
    let mut state = pipeline.model.new_state()?;
    let request = TextRequest {
        prompt: &prompt,
        max_new_tokens: args.max_new_tokens,
        stop: &args.stop,
        top: args.probs.unwrap_or(0),
        ignore_end: args.ignore_eos,
        cancel: Some(interrupt::flag()),
    };
    let tokenizer = pipeline.assets.tokenizer.as_ref();
    let by_step = args.show_ids || args.probs.is_some() || tokenizer.is_none();
    let mut out = output::Output::new();
    if args.echo && !args.json {
        match (tokenizer, by_step) {
            (Some(tokenizer), false) => out.print(&tokenizer.decode(&prompt, jielong_text::SkipSpecials::No)?)?,
            _ => prompt.iter().try_for_each(|&token| out.line(&row(token, None, tokenizer)))?,
        }
    }
    let mut bar = progress::Prefill::new(global, prompt.len());
    let mut failed = None;
    let outcome = pipeline.continue_text(&mut state, &mut sampler, &request, guesses.as_mut(), &mut |news| {
        let printed = match news {
            News::Prefill { done, .. } => {
                bar.advance(done);
                Ok(())
            }
            News::Step(step) if by_step && !args.json => {
                bar.finish();
                out.line(&row(step.token, args.probs.map(|_| step), tokenizer))
            }
            News::Text(text) if !by_step && !args.json => {
                bar.finish();
                out.print(text)
            }
            _ => Ok(()),
        };
        if let Err(error) = printed {
            interrupt::flag().store(true, std::sync::atomic::Ordering::Relaxed);
            failed.get_or_insert(error);
        }
    })?;
    bar.finish();
    if let Some(error) = failed {
        return Err(error);
    }
    if args.json {
        out.line(&serde_json::to_string_pretty(&object(&args, &pipeline, &prompt, &outcome, seed)?)?)?;
    } else if !by_step {
        out.print("\n")?;
    }
    out.flush()?;
    if args.stats {
        stats::print(&start, &pipeline, &outcome, state_len(&state));
        if args.sampling.seed.is_none() && !sampler.is_greedy() {
            eprintln!("seed {seed}");
        }
    }
    Ok(())
}

fn state_len(state: &impl jielong_core::State) -> usize {
    state.len()
}

/// The prompt's tokens, from text or ids.
fn prompt(args: &Args, pipeline: &Pipeline) -> Result<Vec<Token>> {
    if let Some(list) = &args.ids {
        return ids::parse(list);
    }
    let text = ids::text_or_stdin(args.prompt.as_deref().unwrap_or_default())?;
    let specials = if args.no_special { Specials::None } else { Specials::Add };
    let tokens = pipeline.tokenizer()?.encode(&text, specials)?;
    if tokens.is_empty() {
        bail!("the prompt is empty, and the tokenizer has no token that begins a text; give at least a letter");
    }
    Ok(tokens)
}

/// One token on a line: id, text, and probabilities if wanted.
fn row(token: Token, step: Option<&Step>, tokenizer: Option<&Tokenizer>) -> String {
    let text = |token| tokenizer.and_then(|t| t.text(token)).map_or(String::new(), |t| format!("  {t:?}"));
    let Some(step) = step else { return format!("{:>7}{}", token.0, text(token)) };
    let mut line = format!("{:>7}  {:>6.2} %{}", token.0, 100.0 * step.logprob.exp(), text(token));
    for (token, logprob) in &step.top {
        line.push_str(&format!("\n{:>15.2} %  {:>7}{}", 100.0 * logprob.exp(), token.0, text(*token)));
    }
    line
}

/// The object of `--json`.
fn object(args: &Args, pipeline: &Pipeline, prompt: &[Token], outcome: &Outcome, seed: u64) -> Result<Value> {
    let text = |token: Token| pipeline.assets.tokenizer.as_ref().and_then(|t| t.text(token));
    let mut object = json!({
        "model": pipeline.name,
        "prompt_ids": prompt,
        "ids": outcome.ids,
        "text": outcome.text,
        "stop": outcome.stop,
        "seed": seed,
        "timing": stats::timing(outcome),
    });
    if args.echo {
        object["prompt"] = match &pipeline.assets.tokenizer {
            Some(tokenizer) => Value::String(tokenizer.decode(prompt, jielong_text::SkipSpecials::No)?),
            None => Value::Null,
        };
    }
    if args.probs.is_some() {
        let step = |step: &Step| {
            let top: Vec<Value> = step.top.iter().map(|&(t, p)| json!([t, text(t), p])).collect();
            json!({ "id": step.token, "text": text(step.token), "logprob": step.logprob, "top": top })
        };
        object["steps"] = outcome.steps.iter().map(step).collect();
    }
    std::io::stdout().flush().context("standard output")?;
    Ok(object)
}
