//! `jielong list`: the models that have a short name, and those that are here.

use anyhow::Result;
use clap::Args as ClapArgs;
use jielong::sources::{self, Listed};
use serde_json::{Value, json};

use super::{Global, output};

/// List models: aliases, and what is on this machine
#[derive(ClapArgs)]
pub struct Args {
    /// Only what is on this machine
    #[arg(long)]
    cached: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    let models: Vec<Listed> =
        sources::list(&global.sources).into_iter().filter(|m| !args.cached || m.cached.is_some()).collect();
    let mut out = output::Output::new();
    if args.json {
        let model = |m: &Listed| {
            json!({ "name": m.name, "description": m.description, "license": m.license, "origin": m.origin,
                    "cached": m.cached, "bytes": m.bytes })
        };
        return out.json(&models.iter().map(model).collect::<Vec<Value>>().into());
    }
    let row = |m: &Listed| {
        let size = m.bytes.map_or(String::new(), output::bytes);
        let here = if m.cached.is_some() { "yes" } else { "" };
        vec![
            m.name.clone(),
            here.into(),
            format!("{size:>10}"),
            m.license.clone().unwrap_or_default(),
            m.description.to_string(),
        ]
    };
    out.table(&["name", "here", "      size", "licence", ""], &models.iter().map(row).collect::<Vec<_>>())
}
