//! `jielong show`: what a model is and what it takes.

use anyhow::Result;
use clap::Args as ClapArgs;
use jielong::assets::{Assets, Files};
use jielong::sources::LocalModel;
use jielong_llama::Config;
use serde_json::{Value, json};

use super::model_args::{self, ModelName};
use super::{Global, output};

/// Show a model: shape, parameters, memory, template, licence
#[derive(ClapArgs)]
pub struct Args {
    /// The model (the same as -m)
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    positional: Option<String>,
    #[command(flatten)]
    model: ModelName,
    /// Print the chat template, and nothing else
    #[arg(long, conflicts_with = "json")]
    template: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Types of weights: name, and bits a value, block scales included.
const TYPES: [(&str, f64); 4] = [("f32", 32.0), ("bf16", 16.0), ("q8_0", 8.5), ("q4_0", 4.5)];

/// Lengths of context whose cache is shown.
const LENGTHS: [usize; 4] = [1024, 4096, 16_384, 131_072];

pub fn run(args: Args, global: &Global) -> Result<()> {
    let local = match &args.positional {
        Some(name) => model_args::pull(name, global)?,
        None => args.model.local(global)?,
    };
    let assets = Files::open(&local)?.assets()?;
    let mut out = output::Output::new();
    if args.template {
        return match &assets.template {
            Some(template) => out.print(template.source()),
            None => anyhow::bail!("{} has no chat template", local.name),
        };
    }
    if args.json { out.json(&object(&local, &assets)) } else { table(&local, &assets, &mut out) }
}

fn weights(config: &Config) -> impl Iterator<Item = (&'static str, u64)> {
    let parameters = config.parameters();
    TYPES.iter().map(move |&(name, bits)| (name, (parameters as f64 * bits / 8.0) as u64))
}

/// Bytes of a cache of f32 (a half of it in bf16) for the lengths that the model can hold.
fn caches(config: &Config) -> impl Iterator<Item = (usize, u64)> {
    let most = config.context;
    let lengths = LENGTHS.iter().copied().filter(move |&n| n < most).chain([most]);
    lengths.map(|length| (length, config.cache_bytes(length, 4)))
}

fn object(local: &LocalModel, assets: &Assets) -> Value {
    let config = &assets.config;
    json!({
        "name": local.name,
        "path": local.path,
        "origin": local.origin,
        "license": local.license,
        "config": config,
        "parameters": config.parameters(),
        "weights_bytes": weights(config).map(|(name, n)| (name.to_owned(), json!(n))).collect::<serde_json::Map<_, _>>(),
        "cache_bytes_f32": caches(config).map(|(n, b)| (n.to_string(), json!(b))).collect::<serde_json::Map<_, _>>(),
        "tokenizer_vocab_size": assets.tokenizer.as_ref().map(|t| t.vocab_size()),
        "end_tokens": assets.end_tokens,
        "chat_template": assets.template.as_ref().map(|t| t.source()),
    })
}

fn table(local: &LocalModel, assets: &Assets, out: &mut output::Output) -> Result<()> {
    let config = &assets.config;
    let windows: Vec<usize> = config.layers.iter().filter_map(|layer| layer.window).collect();
    let ends = assets.end_tokens.iter().map(|&token| {
        let text = assets.tokenizer.as_ref().and_then(|t| t.text(token)).unwrap_or_default();
        format!("{token} {text}")
    });
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |name: &str, value: String| rows.push(vec![name.into(), value]);
    add("model", local.name.clone());
    add("files", format!("{} ({})", local.path.display(), local.origin));
    add("licence", local.license.clone().unwrap_or_else(|| "not stated".into()));
    add("family", config.family.clone());
    add("parameters", format!("{:.1} million", config.parameters() as f64 / 1e6));
    add(
        "layers",
        format!("{} of width {}, feed-forward {}", config.depth(), config.hidden_size, config.intermediate_size),
    );
    add("heads", format!("{} of width {}, {} for keys and values", config.heads, config.head_dim, config.kv_heads));
    if let Some(window) = windows.first() {
        add("window", format!("{window} positions in {} of {} layers", windows.len(), config.depth()));
    }
    if let Some(experts) = config.experts {
        add("experts", format!("{} of {} per token", experts.per_token, experts.count));
    }
    add("vocabulary", format!("{}{}", config.vocab_size, if config.tied { ", head tied to it" } else { "" }));
    add("context", format!("{} positions", config.context));
    add("ends with", ends.collect::<Vec<_>>().join(", "));
    add(
        "template",
        assets
            .template
            .as_ref()
            .map_or("none".into(), |t| format!("{} characters; --template prints it", t.source().len())),
    );
    for (name, bytes) in weights(config) {
        add(&format!("weights {name}"), output::bytes(bytes));
    }
    for (length, bytes) in caches(config) {
        add(
            &format!("cache {length}"),
            format!("{} in f32, {} in bf16", output::bytes(bytes), output::bytes(bytes / 2)),
        );
    }
    out.table(&["", ""], &rows)
}
