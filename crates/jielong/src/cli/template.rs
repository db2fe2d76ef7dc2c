//! `jielong template`: the exact text that a chat template makes of a conversation.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use jielong::assets::Files;
use jielong_text::{ChatTemplate, Message, TemplateInput};
use serde_json::{Map, Value};

use super::{Global, ids, model_args::ModelName, output};

/// Print exactly the text that the model would see, and nothing else
#[derive(ClapArgs)]
#[command(
    after_help = "Example:\n  jielong template --messages m.json --add-generation-prompt --set enable_thinking=false"
)]
pub struct Args {
    #[command(flatten)]
    model: ModelName,
    /// A template file, in place of a model's
    #[arg(long, value_name = "T.JINJA", conflicts_with = "model")]
    file: Option<PathBuf>,
    /// The conversation: a JSON list of messages, or an object with `messages`; - reads standard input
    #[arg(long, value_name = "M.JSON")]
    messages: PathBuf,
    /// Definitions of tools: a JSON list
    #[arg(long, value_name = "T.JSON")]
    tools: Option<PathBuf>,
    /// End where the assistant's answer begins
    #[arg(long)]
    add_generation_prompt: bool,
    /// End where the last message ends, so that the answer goes on from it
    #[arg(long)]
    continue_final: bool,
    /// The clock, such as 2026-01-15T12:00:00 (default: now)
    #[arg(long, value_name = "TIME")]
    now: Option<chrono::NaiveDateTime>,
    /// Set a variable of the template; a value that is JSON is read as JSON (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    let (template, specials) = match &args.file {
        Some(path) => {
            let source = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            (ChatTemplate::new(&source, &path.display().to_string())?, Map::new())
        }
        None => {
            let local = args.model.local(global)?;
            let files = Files::open(&local)?;
            let template = files.template()?;
            (template.with_context(|| format!("{} has no chat template", local.name))?, files.specials()?)
        }
    };
    let messages = match read(&args.messages)? {
        Value::Object(mut map) => map.remove("messages").unwrap_or_default(),
        list => list,
    };
    let messages: Vec<Message> = serde_json::from_value(messages)
        .with_context(|| format!("{}: expected a list of messages, each with a `role`", args.messages.display()))?;
    let tools = args.tools.as_deref().map(read).transpose()?;
    let input = TemplateInput {
        messages: &messages,
        tools: tools.as_ref(),
        add_generation_prompt: args.add_generation_prompt,
        continue_final_message: args.continue_final,
        now: args.now,
        specials,
        variables: args.set.iter().map(|pair| ids::variable(pair)).collect::<Result<_>>()?,
    };
    let text = template.render(&input)?;
    output::Output::new().print(&text)
}

/// A JSON file; `-` is standard input.
fn read(path: &Path) -> Result<Value> {
    let text = match path.to_str() {
        Some("-") => ids::text_or_stdin("-")?,
        _ => std::fs::read_to_string(path).with_context(|| path.display().to_string())?,
    };
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}
