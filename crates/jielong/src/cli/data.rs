//! `jielong data`: pictures to learn from.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use clap::{Args as ClapArgs, Subcommand};
use jielong::data::{self, Pictures, Recipe, Split};
use serde_json::{Value, json};

use super::{Global, output, progress};

/// Data sets of pictures: fetch, list, show
#[derive(ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetch and make data sets, and say where they lie
    Fetch {
        /// Data sets (see `jielong data list`)
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List data sets
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a data set, or a folder of pictures: styles, licences, how many pictures
    Show {
        /// A data set, or a folder
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    match args.command {
        Command::Fetch { names, json } => fetch(&names, json, global),
        Command::List { json } => list(json, global),
        Command::Show { name, json } => show(&name, json, global),
    }
}

fn fetch(names: &[String], json: bool, global: &Global) -> Result<()> {
    let mut out = output::Output::new();
    let recipes = names.iter().map(|name| data::recipe(name)).collect::<Result<Vec<_>, _>>()?;
    let mut fetched: Vec<Value> = Vec::new();
    for recipe in &recipes {
        let path = data::fetch(recipe, &global.sources, &progress::Fetch::new(global))?;
        let pictures = Pictures::open(&recipe.name, &global.sources)?;
        if json {
            fetched.push(json!({ "name": recipe.name, "path": path, "counts": counts(&pictures) }));
        } else {
            out.line(&format!("{}: {} pictures in {}", recipe.name, pictures.entries.len(), path.display()))?;
        }
    }
    if json { out.json(&fetched.into()) } else { out.flush() }
}

fn list(json: bool, global: &Global) -> Result<()> {
    let mut out = output::Output::new();
    let recipes = data::recipes()?;
    if json {
        let one = |recipe: &Recipe| {
            json!({ "name": recipe.name, "description": recipe.description, "licenses": licenses(recipe),
                    "path": data::find(recipe, &global.sources), "download_bytes": bytes(recipe) })
        };
        return out.json(&recipes.iter().map(one).collect::<Vec<_>>().into());
    }
    let row = |recipe: &Recipe| {
        let here = if data::find(recipe, &global.sources).is_some() { "yes" } else { "" };
        let licenses = licenses(recipe).into_iter().collect::<Vec<_>>().join(", ");
        vec![recipe.name.clone(), here.into(), output::bytes(bytes(recipe)), licenses, recipe.description.clone()]
    };
    out.table(&["name", "here", "download", "licences", ""], &recipes.iter().map(row).collect::<Vec<_>>())
}

fn show(name: &str, json: bool, global: &Global) -> Result<()> {
    let recipe = data::recipe(name).ok().filter(|_| !std::path::Path::new(name).is_dir());
    let pictures = match (Pictures::open(name, &global.sources), &recipe) {
        (Ok(pictures), _) => Some(pictures),
        (Err(data::DataError::NotHere { .. }), Some(_)) => None,
        (Err(error), _) => return Err(error.into()),
    };
    let mut out = output::Output::new();
    if json {
        let styles = recipe.iter().flat_map(|recipe| &recipe.styles).map(|style| {
            json!({ "name": style.name, "title": style.title, "license": style.license,
                    "attribution": style.attribution, "package": style.package.to_string() })
        });
        return out.json(&json!({
            "name": name,
            "description": recipe.as_ref().map(|recipe| &recipe.description),
            "size": recipe.as_ref().map(|recipe| recipe.size),
            "styles": styles.collect::<Vec<_>>(),
            "names_license": recipe.as_ref().map(|recipe| &recipe.names.license),
            "path": pictures.as_ref().map(|pictures| &pictures.root),
            "counts": pictures.as_ref().map(counts),
        }));
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |name: &str, value: String| rows.push(vec![name.into(), value]);
    if let Some(recipe) = &recipe {
        add("data set", format!("{}: {}", recipe.name, recipe.description));
        add("pictures", format!("{0}×{0} pixels", recipe.size));
        for style in &recipe.styles {
            let (title, license, by) = (&style.title, &style.license, &style.attribution);
            add(&format!("style {}", style.name), format!("{title}, {license}, by {by} ({})", style.package));
        }
        let names = &recipe.names;
        add("names", format!("{}, by {} ({})", names.license, names.attribution, names.package));
    }
    match &pictures {
        Some(pictures) => {
            add("folder", pictures.root.display().to_string());
            for split in [Split::Train, Split::HeldOut] {
                let of: Vec<_> = pictures.of(split).collect();
                let bases: BTreeSet<_> = of.iter().map(|entry| &entry.base).collect();
                let subjects: BTreeSet<_> = of.iter().map(|entry| &entry.subject).collect();
                let (pictures, subjects, bases) = (of.len(), subjects.len(), bases.len());
                add(split.name(), format!("{pictures} pictures of {subjects} subjects, {bases} bases"));
            }
        }
        None => add("folder", format!("not here; `jielong data fetch {name}` fetches it")),
    }
    out.table(&["", ""], &rows)
}

/// Pictures by style and half, subjects and bases by half.
fn counts(pictures: &Pictures) -> Value {
    let mut counts = BTreeMap::new();
    for split in [Split::Train, Split::HeldOut] {
        let mut styles: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut subjects, mut bases) = (BTreeSet::new(), BTreeSet::new());
        for entry in pictures.of(split) {
            *styles.entry(&entry.style).or_default() += 1;
            subjects.insert(&entry.subject);
            bases.insert(&entry.base);
        }
        let all: usize = styles.values().sum();
        let (subjects, bases) = (subjects.len(), bases.len());
        counts.insert(split.name(), json!({ "pictures": all, "subjects": subjects, "bases": bases, "styles": styles }));
    }
    json!(counts)
}

fn licenses(recipe: &Recipe) -> BTreeSet<&str> {
    recipe.styles.iter().map(|style| style.license.as_str()).chain([recipe.names.license.as_str()]).collect()
}

fn bytes(recipe: &Recipe) -> u64 {
    recipe.packages().map(|package| package.bytes).sum()
}
