//! `jielong data`: pictures and sound to learn from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args as ClapArgs, Subcommand};
use jielong::data::{self, Content, DataError, Pictures, Recipe, Recording, Sounds, Split};
use jielong::sources::SourceOptions;
use serde_json::{Value, json};

use super::{Global, output, progress};

/// Data sets of pictures and sound: fetch, list, show
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
    /// Show a data set, or a folder of pictures or recordings: where it comes from, licences, how much there is
    Show {
        /// A data set, or a folder
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A data set on this machine, or a folder.
enum Opened {
    Pictures(Pictures),
    Sounds(Sounds),
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
        let opened = Opened::of(recipe, &global.sources)?;
        if json {
            fetched.push(json!({ "name": recipe.name, "path": path, "counts": opened.counts() }));
        } else {
            let all = match &opened {
                Opened::Pictures(pictures) => format!("{} pictures", pictures.entries.len()),
                Opened::Sounds(sounds) => recordings(sounds.entries.iter()),
            };
            out.line(&format!("{}: {all} in {}", recipe.name, path.display()))?;
        }
    }
    if json { out.json(&fetched.into()) } else { out.flush() }
}

fn list(json: bool, global: &Global) -> Result<()> {
    let mut out = output::Output::new();
    let recipes = data::recipes()?;
    if json {
        let one = |recipe: &Recipe| {
            json!({ "name": recipe.name, "description": recipe.description, "licenses": recipe.licenses(),
                    "path": data::find(recipe, &global.sources), "download_bytes": bytes(recipe) })
        };
        return out.json(&recipes.iter().map(one).collect::<Vec<_>>().into());
    }
    let row = |recipe: &Recipe| {
        let here = if data::find(recipe, &global.sources).is_some() { "yes" } else { "" };
        let licenses = recipe.licenses().into_iter().collect::<Vec<_>>().join(", ");
        let download = Some(bytes(recipe)).filter(|&bytes| bytes > 0).map_or("none".to_owned(), output::bytes);
        vec![recipe.name.clone(), here.into(), download, licenses, recipe.description.clone()]
    };
    out.table(&["name", "here", "download", "licences", ""], &recipes.iter().map(row).collect::<Vec<_>>())
}

fn show(name: &str, json: bool, global: &Global) -> Result<()> {
    let recipe = data::recipe(name).ok().filter(|_| !Path::new(name).is_dir());
    let opened = match &recipe {
        Some(recipe) => Opened::of(recipe, &global.sources),
        None => Opened::folder(name, &global.sources),
    };
    let opened = match opened {
        Err(DataError::NotHere { .. }) if recipe.is_some() => None,
        opened => Some(opened?),
    };
    let mut out = output::Output::new();
    if json {
        return out.json(&shown(name, recipe.as_ref(), opened.as_ref()));
    }
    let mut rows = recipe.as_ref().map(origin).unwrap_or_default();
    let mut add = |name: &str, value: String| rows.push(vec![name.into(), value]);
    match &opened {
        Some(opened) => {
            add("folder", opened.root().display().to_string());
            for split in [Split::Train, Split::HeldOut] {
                add(split.name(), opened.half(split));
            }
        }
        None => add("folder", format!("not here; `jielong data fetch {name}` fetches it")),
    }
    out.table(&["", ""], &rows)
}

/// What `show` says as JSON.
fn shown(name: &str, recipe: Option<&Recipe>, opened: Option<&Opened>) -> Value {
    let mut shown = json!({ "name": name, "description": recipe.map(|recipe| &recipe.description) });
    if let Some(recipe) = recipe {
        match &recipe.content {
            Content::Pictures(pictures) => {
                shown["size"] = json!(pictures.size);
                shown["styles"] = json!(recipe.parts());
                shown["names_license"] = json!(pictures.names.license);
            }
            _ => shown["voices"] = json!(recipe.parts()),
        }
    }
    shown["path"] = json!(opened.map(Opened::root));
    shown["counts"] = json!(opened.map(Opened::counts));
    shown
}

/// What a data set is made of, as rows.
fn origin(recipe: &Recipe) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |name: &str, value: String| rows.push(vec![name.into(), value]);
    add("data set", format!("{}: {}", recipe.name, recipe.description));
    let part = match &recipe.content {
        Content::Pictures(pictures) => {
            add("pictures", format!("{0}×{0} pixels", pictures.size));
            "style"
        }
        _ => "voice",
    };
    for one in recipe.parts() {
        let (title, license, by) = (&one.title, &one.license, &one.attribution);
        add(&format!("{part} {}", one.name), format!("{title}, {license}, by {by} ({})", one.package));
    }
    if let Content::Pictures(pictures) = &recipe.content {
        let names = &pictures.names;
        add("names", format!("{}, by {} ({})", names.license, names.attribution, names.package));
    }
    rows
}

impl Opened {
    fn of(recipe: &Recipe, options: &SourceOptions) -> Result<Self, DataError> {
        match recipe.content {
            Content::Pictures(_) => Pictures::open(&recipe.name, options).map(Self::Pictures),
            _ => Sounds::open(&recipe.name, options).map(Self::Sounds),
        }
    }

    /// A folder of pictures, or else of recordings.
    fn folder(name: &str, options: &SourceOptions) -> Result<Self, DataError> {
        let pictures = Pictures::open(name, options).map(Self::Pictures);
        match pictures {
            Err(error @ (DataError::NoPictures { .. } | DataError::Index { .. })) => {
                Sounds::open(name, options).map(Self::Sounds).map_err(|_| error)
            }
            pictures => pictures,
        }
    }

    fn root(&self) -> &PathBuf {
        match self {
            Self::Pictures(pictures) => &pictures.root,
            Self::Sounds(sounds) => &sounds.root,
        }
    }

    /// How much there is of a half, in words.
    fn half(&self, split: Split) -> String {
        match self {
            Self::Pictures(pictures) => {
                let (all, subjects, bases) = of_pictures(pictures, split);
                format!("{} pictures of {subjects} subjects, {bases} bases", all.values().sum::<usize>())
            }
            Self::Sounds(sounds) => {
                let of: Vec<_> = sounds.of(split).collect();
                let prompts: BTreeSet<_> = of.iter().map(|entry| &entry.prompt).collect();
                format!("{} of {} prompts", recordings(of.iter().copied()), prompts.len())
            }
        }
    }

    /// How much there is by half, and in it by style or voice.
    fn counts(&self) -> Value {
        let mut counts = BTreeMap::new();
        for split in [Split::Train, Split::HeldOut] {
            let half = match self {
                Self::Pictures(pictures) => {
                    let (styles, subjects, bases) = of_pictures(pictures, split);
                    let all: usize = styles.values().sum();
                    json!({ "pictures": all, "subjects": subjects, "bases": bases, "styles": styles })
                }
                Self::Sounds(sounds) => {
                    let of: Vec<_> = sounds.of(split).collect();
                    let prompts: BTreeSet<_> = of.iter().map(|entry| &entry.prompt).collect();
                    let mut voices: BTreeMap<&str, usize> = BTreeMap::new();
                    of.iter().for_each(|entry| *voices.entry(&entry.voice).or_default() += 1);
                    json!({ "recordings": of.len(), "prompts": prompts.len(), "seconds": seconds(of.iter().copied()),
                            "voices": voices })
                }
            };
            counts.insert(split.name(), half);
        }
        json!(counts)
    }
}

/// Pictures of a half by style, subjects, bases.
fn of_pictures(pictures: &Pictures, split: Split) -> (BTreeMap<&str, usize>, usize, usize) {
    let mut styles: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut subjects, mut bases) = (BTreeSet::new(), BTreeSet::new());
    for entry in pictures.of(split) {
        *styles.entry(&entry.style).or_default() += 1;
        subjects.insert(&entry.subject);
        bases.insert(&entry.base);
    }
    (styles, subjects.len(), bases.len())
}

/// How many recordings, and how long where that is known.
fn recordings<'a>(entries: impl Iterator<Item = &'a Recording> + Clone) -> String {
    let minutes = seconds(entries.clone()).map_or(String::new(), |seconds| format!(" ({:.1} minutes)", seconds / 60.0));
    format!("{} recordings{minutes}", entries.count())
}

/// The length of all, if it is known of all.
fn seconds<'a>(mut entries: impl Iterator<Item = &'a Recording>) -> Option<f64> {
    entries.try_fold(0.0, |sum, entry| Some(sum + entry.seconds?))
}

fn bytes(recipe: &Recipe) -> u64 {
    recipe.packages().iter().map(|(_, bytes)| bytes).sum()
}
