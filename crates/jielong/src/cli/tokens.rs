//! `jielong tokens`: a tokenizer from outside and inside.

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, Subcommand};
use jielong::assets::Files;
use jielong_core::Token;
use jielong_text::{SkipSpecials, Specials, Tokenizer};
use serde_json::{Value, json};

use super::{Global, ids, model_args::ModelName, output};

/// Look at a tokenizer: encode, decode, list its vocabulary
#[derive(ClapArgs)]
#[command(
    after_help = "Examples:\n  jielong tokens encode \"good morning\"\n  jielong tokens decode 19045 6693 -m FOLDER\n  \
    jielong tokens vocab --grep cat\n  jielong tokens longest --top 5"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(ClapArgs)]
struct Common {
    #[command(flatten)]
    model: ModelName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Text to ids
    Encode {
        /// The text; - reads standard input
        #[arg(allow_hyphen_values = true)]
        text: String,
        /// Do not add the tokenizer's special tokens
        #[arg(long)]
        no_special: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Ids to text
    Decode {
        /// Ids, separated by spaces or commas
        #[arg(required = true)]
        ids: Vec<String>,
        /// Leave special tokens out
        #[arg(long)]
        no_special: bool,
        #[command(flatten)]
        common: Common,
    },
    /// List the vocabulary
    Vocab {
        /// First id
        #[arg(long, value_name = "ID", default_value_t = 0)]
        from: u32,
        /// How many to list
        #[arg(long, value_name = "N")]
        count: Option<usize>,
        /// Only tokens that hold this text
        #[arg(long, value_name = "TEXT")]
        grep: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// List the longest tokens, in characters
    Longest {
        /// How many to list
        #[arg(long, value_name = "N", default_value_t = 10)]
        top: usize,
        #[command(flatten)]
        common: Common,
    },
    /// List the shortest tokens, in characters
    Shortest {
        /// How many to list
        #[arg(long, value_name = "N", default_value_t = 10)]
        top: usize,
        #[command(flatten)]
        common: Common,
    },
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    match args.action {
        Action::Encode { text, no_special, common } => {
            let tokenizer = open(&common, global)?;
            let specials = if no_special { Specials::None } else { Specials::Add };
            let tokens = tokenizer.encode(&ids::text_or_stdin(&text)?, specials)?;
            listing(&common, &tokenizer, &tokens)
        }
        Action::Decode { ids, no_special, common } => {
            let tokenizer = open(&common, global)?;
            let tokens = ids::parse(&ids.join(" "))?;
            let skip = if no_special { SkipSpecials::Yes } else { SkipSpecials::No };
            let text = tokenizer.decode(&tokens, skip)?;
            let mut out = output::Output::new();
            if common.json {
                out.json(&json!({ "ids": tokens, "text": text }))
            } else {
                out.print(&format!("{text}\n"))
            }
        }
        Action::Vocab { from, count, grep, common } => {
            let tokenizer = open(&common, global)?;
            let wanted = |(token, text): &(Token, String)| {
                token.0 >= from && grep.as_ref().is_none_or(|part| text.contains(part.as_str()))
            };
            let entries = tokenizer.entries().into_iter().filter(wanted).take(count.unwrap_or(usize::MAX));
            print(&common, &tokenizer, &entries.collect::<Vec<_>>())
        }
        Action::Longest { top, common } => by_length(&common, global, top, |length| usize::MAX - length),
        Action::Shortest { top, common } => by_length(&common, global, top, |length| length),
    }
}

fn open(common: &Common, global: &Global) -> Result<Tokenizer> {
    let local = common.model.local(global)?;
    let tokenizer = Files::open(&local)?.tokenizer()?;
    tokenizer.with_context(|| format!("{} has no tokenizer.json", local.path.display()))
}

/// Tokens of a text: ids on a line, and what each stands for.
fn listing(common: &Common, tokenizer: &Tokenizer, tokens: &[Token]) -> Result<()> {
    let pieces: Vec<String> = tokens.iter().map(|&t| tokenizer.text(t).unwrap_or_default()).collect();
    let mut out = output::Output::new();
    if common.json {
        return out.json(&json!({ "ids": tokens, "pieces": pieces }));
    }
    let ids: Vec<String> = tokens.iter().map(ToString::to_string).collect();
    out.line(&format!("[{}]", ids.join(", ")))?;
    let rows: Vec<Vec<String>> =
        tokens.iter().zip(&pieces).map(|(t, p)| vec![format!("{:>7}", t.0), format!("{p:?}")]).collect();
    out.table(&["", ""], &rows)
}

fn by_length(common: &Common, global: &Global, top: usize, key: impl Fn(usize) -> usize) -> Result<()> {
    let tokenizer = open(common, global)?;
    // Control tokens have names, not texts.
    let mut entries: Vec<_> = tokenizer.entries().into_iter().filter(|(t, _)| !tokenizer.is_special(*t)).collect();
    entries.sort_by_key(|(_, text)| key(text.chars().count()));
    entries.truncate(top);
    print(common, &tokenizer, &entries)
}

fn print(common: &Common, tokenizer: &Tokenizer, entries: &[(Token, String)]) -> Result<()> {
    let mut out = output::Output::new();
    let length = |text: &str| text.chars().count();
    if common.json {
        let entry = |(token, text): &(Token, String)| json!({ "id": token, "text": text, "length": length(text) });
        let entries: Vec<Value> = entries.iter().map(entry).collect();
        return out.json(&json!({ "vocab_size": tokenizer.vocab_size(), "tokens": entries }));
    }
    let row = |(token, text): &(Token, String)| {
        vec![format!("{:>7}", token.0), format!("{:>6}", length(text)), format!("{text:?}")]
    };
    out.table(&["     id", "length", "text"], &entries.iter().map(row).collect::<Vec<_>>())
}
