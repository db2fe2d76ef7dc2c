//! `jielong chat`: one answer, or a session.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use jielong::pipeline::{News, Pipeline};
use jielong::session::{Answer, Session};
use jielong_core::StopReason;
use jielong_kernels::keep_memory;
use jielong_text::{Message, SpanKind, Template};
use serde_json::json;

use super::chat_session::Chat;
use super::speculation::SpeculationArgs;
use super::{Global, ids, interrupt, model_args::ModelArgs, output, progress, sampling, stats};

/// Talk with a model: one answer to MESSAGE, or a session
#[derive(ClapArgs)]
#[command(after_help = "In a session, /help lists the commands and exit ends it. Ctrl-C stops an answer only.\n\n\
    Examples:\n  jielong chat \"What is the capital of France?\"\n  jielong chat --system \"You are {model}. Today is {date}.\"\n  \
    jielong chat -m llama3.2:1b --prefill \"Sure:\" \"Name a fruit.\"\n  \
    jielong chat --template \"Question: \" \" Answer:\" \"How many legs has a spider?\"")]
pub struct Args {
    /// A message to answer; - reads standard input. Without it a session starts
    message: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// System prompt; {model} and {date} are filled in
    #[arg(short, long, value_name = "TEXT")]
    system: Option<String>,
    /// Words put into the model's mouth: the answer goes on from them
    #[arg(short, long, value_name = "TEXT", requires = "message")]
    prefill: Option<String>,
    /// A home-made template: the strings before and after your words
    #[arg(long, num_args = 2, value_names = ["PREFIX", "SUFFIX"], conflicts_with = "raw", allow_hyphen_values = true)]
    template: Option<Vec<String>>,
    /// No template at all: the model sees your words as they are
    #[arg(long)]
    raw: bool,
    /// At most so many tokens an answer
    #[arg(short = 'n', long, visible_alias = "max-tokens", value_name = "N")]
    max_new_tokens: Option<usize>,
    /// End an answer when this text appears; it is not printed (repeatable)
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Set a variable of the chat template, such as enable_thinking=false (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print the exact text and ids that the model sees before each answer
    #[arg(long)]
    show_prompt: bool,
    /// Print times, reused tokens, context and memory after each answer
    #[arg(long)]
    stats: bool,
    /// Print one JSON object instead of the answer
    #[arg(long, requires = "message")]
    json: bool,
    #[command(flatten)]
    speculation: SpeculationArgs,
    #[command(flatten)]
    sampling: sampling::SamplingArgs,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    let start = stats::Start::now();
    let settings = args.model.settings(global)?;
    let mut pipeline = Pipeline::open(&args.model.local(global)?, &settings)?;
    let draft = args.speculation.draft(&pipeline, &settings, global)?;
    keep_memory();
    if args.raw {
        pipeline.template = Some(Template::Affix { prefix: String::new(), suffix: String::new() });
    } else if let Some([prefix, suffix]) = args.template.as_deref() {
        pipeline.template = Some(Template::Affix { prefix: prefix.clone(), suffix: suffix.clone() });
    }
    let base = global.sampling(sampling::recommended(&pipeline.assets.generation));
    let config = args.sampling.config(base, &pipeline)?;
    let mut session = Session::new(&pipeline, config)?;
    session.max_new_tokens = args.max_new_tokens.unwrap_or(usize::MAX);
    session.stop = args.stop;
    session.guesses = args.speculation.guesses(draft.as_ref())?;
    for pair in &args.set {
        let (key, value) = ids::variable(pair)?;
        session.variables.insert(key, value);
    }
    if let Some(system) = &args.system {
        session.messages.push(Message::system(&filled(system, &pipeline)));
    }
    let view = View { json: args.json, stats: args.stats, show_prompt: args.show_prompt, start };
    match args.message {
        None => Chat::new(&pipeline, session, view, global).run(),
        Some(message) => {
            session.messages.push(Message::user(&ids::text_or_stdin(&message)?));
            if let Some(prefill) = &args.prefill {
                session.messages.push(Message::assistant(prefill));
            }
            let answer = answer(&mut session, &view, &pipeline, global, args.prefill.as_deref())?;
            if answer.outcome.stop == StopReason::Cancelled {
                std::process::exit(130);
            }
            Ok(())
        }
    }
}

/// What is printed with an answer.
pub struct View {
    pub json: bool,
    pub stats: bool,
    pub show_prompt: bool,
    pub start: stats::Start,
}

/// Makes the next answer, streaming it.
pub fn answer(
    session: &mut Session,
    view: &View,
    pipeline: &Pipeline,
    global: &Global,
    prefill: Option<&str>,
) -> Result<Answer> {
    if view.show_prompt {
        print_prompt(session)?;
    }
    let mut out = output::Output::new();
    if let Some(prefill) = prefill.filter(|_| !view.json) {
        out.print(prefill)?;
    }
    interrupt::flag().store(false, Ordering::Relaxed);
    let mut bar = progress::Prefill::new(global, 0);
    let mut failed = None;
    let answer = session.answer(Some(interrupt::flag()), &mut |news| match news {
        News::Prefill { done, total } => bar.advance_of(done, total),
        News::Text(text) => {
            bar.finish();
            if !view.json
                && let Err(error) = out.print(text)
            {
                interrupt::flag().store(true, Ordering::Relaxed);
                failed.get_or_insert(error);
            }
        }
        News::Step(_) => {}
    });
    bar.finish();
    let answer = answer?;
    if let Some(error) = failed {
        return Err(error);
    }
    if view.json {
        out.line(&serde_json::to_string_pretty(&json!({
            "model": pipeline.name,
            "text": answer.outcome.text,
            "ids": answer.outcome.ids,
            "stop": answer.outcome.stop,
            "messages": session.messages,
            "dropped_messages": answer.dropped,
            "prompt_tokens": answer.prompt_tokens,
            "timing": stats::timing(&answer.outcome),
        }))?)?;
    } else {
        out.print("\n")?;
    }
    out.flush()?;
    if answer.dropped > 0 {
        eprintln!(
            "[the context of {} tokens is full: the {} oldest messages left; the system prompt stays]",
            jielong_core::Model::context(&pipeline.model),
            answer.dropped
        );
    }
    match answer.outcome.stop {
        StopReason::ContextFull => eprintln!("[the answer ends here: the context is full]"),
        StopReason::Length => eprintln!("[the answer ends here: --max-new-tokens is reached]"),
        StopReason::Cancelled => eprintln!("[stopped; what was said is kept]"),
        _ => {}
    }
    if view.stats {
        stats::print(&view.start, pipeline, &answer.outcome, session.used());
    }
    Ok(answer)
}

/// The exact text and ids that the model would see.
pub fn print_prompt(session: &Session) -> Result<()> {
    let (spans, tokens) = session.prompt()?;
    let mut out = output::Output::new();
    for span in &spans {
        match span.kind {
            SpanKind::Template => out.dim(&span.text)?,
            SpanKind::Content => out.print(&span.text)?,
        }
    }
    let list: Vec<String> = tokens.iter().map(|t| t.0.to_string()).collect();
    out.print(&format!("\n[{} tokens] {}\n", tokens.len(), list.join(",")))?;
    out.flush()
}

/// A system prompt with `{model}` and `{date}` filled in.
pub fn filled(text: &str, pipeline: &Pipeline) -> String {
    text.replace("{model}", &pipeline.name).replace("{date}", &jielong_text::today())
}

/// Reads a conversation: a list of messages, or an object with `messages`.
pub fn load(path: &std::path::Path) -> Result<Vec<Message>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut value: serde_json::Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    if value.is_object() {
        value = value["messages"].take();
    }
    if value.is_null() {
        bail!("{}: no `messages`", path.display());
    }
    serde_json::from_value(value).with_context(|| format!("{}: `messages`", path.display()))
}
