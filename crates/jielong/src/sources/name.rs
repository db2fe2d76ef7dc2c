//! What a model's name means.

use std::path::{Path, PathBuf};

use super::aliases::{Hub, Source};
use super::{LocalModel, ModelKind, SourceError, SourceOptions, cache, hub, local, package};
use crate::codecs;

/// The user's aliases may stand for aliases, so many times.
const ALIAS_DEPTH: usize = 8;

/// What a name stands for.
pub(super) enum Target {
    /// A folder or file of the user's.
    Here(LocalModel),
    /// Something that can be fetched.
    Sources {
        /// The name as given.
        name: String,
        /// The name in the catalog, after which the cache's folder is called.
        alias: String,
        /// The licence, when the alias has it.
        license: Option<String>,
        /// Where it can be had, in order.
        sources: Vec<Source>,
    },
}

impl Target {
    /// The model, if it is on this machine; the first source that has it counts.
    pub(super) fn on_this_machine(&self, options: &SourceOptions) -> Option<LocalModel> {
        let (name, alias, license, sources) = match self {
            Self::Here(model) => return Some(model.clone()),
            Self::Sources { name, alias, license, sources } => (name, alias, license, sources),
        };
        sources.iter().find_map(|source| {
            let (path, kind) = cached(alias, source, options)?;
            Some(local(name, source, path, kind, license.as_deref()))
        })
    }
}

/// What a source left on this machine.
pub(super) fn cached(alias: &str, source: &Source, options: &SourceOptions) -> Option<(PathBuf, ModelKind)> {
    match source {
        Source::Hub(source) => hub::cached(source, options),
        Source::Package(source) => package::cached(alias, source, options).map(|path| (path, ModelKind::Gguf)),
    }
}

/// Says what a name stands for.
pub(super) fn resolve(name: &str, options: &SourceOptions) -> Result<Target, SourceError> {
    let mut meant = name;
    for _ in 0..ALIAS_DEPTH {
        if let Some(model) = on_disk(name, meant, options)? {
            return Ok(Target::Here(model));
        }
        let Some(next) = options.aliases.get(meant).filter(|&next| next != meant) else {
            return elsewhere(name, meant, options);
        };
        meant = next;
    }
    Err(SourceError::BadName {
        name: name.to_owned(),
        why: format!("leads through more than {ALIAS_DEPTH} aliases; look for a circle in the configuration file"),
    })
}

/// A model that comes with the program, an alias of the catalog, or a hub id.
fn elsewhere(name: &str, meant: &str, options: &SourceOptions) -> Result<Target, SourceError> {
    if let Ok(path) = codecs::folder(Path::new(meant), "config.json") {
        let (kind, license) = (ModelKind::Folder, cache::readme_license(&path));
        return Ok(Target::Here(LocalModel { name: name.to_owned(), path, kind, origin: "program".into(), license }));
    }
    if let Some(entry) = options.catalog.entry(meant) {
        let (license, sources) = (Some(entry.license.clone()), entry.sources.clone());
        return Ok(Target::Sources { name: name.to_owned(), alias: entry.name.clone(), license, sources });
    }
    if let Some(hub) = hub_id(meant) {
        let (name, alias) = (name.to_owned(), meant.to_owned());
        return Ok(Target::Sources { name, alias, license: None, sources: vec![Source::Hub(hub)] });
    }
    if is_path(meant) {
        return Err(SourceError::NoSuchPath { path: expand(meant) });
    }
    Err(SourceError::Unknown { name: name.to_owned(), near: near(meant, options) })
}

/// A folder or a file. A folder without a model counts only if the name can be nothing else.
fn on_disk(name: &str, meant: &str, options: &SourceOptions) -> Result<Option<LocalModel>, SourceError> {
    let path = expand(meant);
    let found = |path: PathBuf, kind, origin: &str| {
        let (name, license) = (name.to_owned(), cache::readme_license(&path));
        Ok(Some(LocalModel { name, path, kind, origin: origin.to_owned(), license }))
    };
    if path.is_dir() {
        // A tokenizer alone is enough for some uses.
        if path.join("config.json").is_file() || path.join("tokenizer.json").is_file() {
            return found(path, ModelKind::Folder, "folder");
        }
        if !is_path(meant) && (options.aliases.contains_key(meant) || options.catalog.entry(meant).is_some()) {
            return Ok(None);
        }
        let names = cache::names(&path);
        let ggufs: Vec<_> = names.iter().filter(|name| is_gguf(name)).collect();
        return match ggufs.as_slice() {
            [one] => found(path.join(one), ModelKind::Gguf, "file"),
            [] => Err(SourceError::NotAModel {
                path,
                found: "a folder without config.json".to_owned(),
                expected: "config.json beside the weights, or a .gguf file",
            }),
            _ => {
                let found = format!("{} .gguf files", ggufs.len());
                Err(SourceError::NotAModel { path, found, expected: "one; give the path of the file itself" })
            }
        };
    }
    if path.is_file() {
        if is_gguf(meant) {
            return found(path, ModelKind::Gguf, "file");
        }
        if is_path(meant) {
            let expected = "a .gguf file, or the folder that has the config.json";
            return Err(SourceError::NotAModel { path, found: "another kind of file".to_owned(), expected });
        }
    }
    Ok(None)
}

/// `owner/name[@revision][:file.gguf]`; `None` if the name is not of this form or could leave the cache.
pub(super) fn hub_id(name: &str) -> Option<Hub> {
    let (rest, file) = match name.split_once(':') {
        Some((rest, file)) => (rest, Some(file)),
        None => (name, None),
    };
    let (repo, revision) = match rest.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision)),
        None => (rest, None),
    };
    let (owner, short) = repo.split_once('/')?;
    let revision_is_fine = revision.is_none_or(|revision| revision.split('/').all(word));
    let file_is_fine = file.is_none_or(|file| is_gguf(file) && file.split('/').all(word));
    (word(owner) && word(short) && revision_is_fine && file_is_fine).then(|| Hub {
        repo: repo.to_owned(),
        revision: revision.map(str::to_owned),
        file: file.map(str::to_owned),
    })
}

/// One harmless part of a hub id. `--` divides owner and name in the cache's folder names.
fn word(part: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    !part.is_empty() && !part.starts_with(['.', '-']) && part.chars().all(fine)
}

/// Whether a name can be nothing but a path.
fn is_path(name: &str) -> bool {
    Path::new(name).is_absolute() || name.starts_with(['.', '~']) || name.ends_with('/') || is_gguf(name)
}

/// Whether a file name ends as GGUF files do.
pub(super) fn is_gguf(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"))
}

fn expand(name: &str) -> PathBuf {
    let home = name.strip_prefix("~/").and_then(|rest| Some(cache::home()?.join(rest)));
    home.unwrap_or_else(|| name.into())
}

/// Aliases that look like the name, nearest first: few edits away, or one begins with the other.
fn near(name: &str, options: &SourceOptions) -> Vec<String> {
    let name = name.to_lowercase();
    let aliases = options.aliases.keys().chain(options.catalog.entries.iter().map(|entry| &entry.name));
    let mut near: Vec<_> = aliases
        .filter_map(|alias| {
            let distance = distance(&name, alias);
            let begins = name.len() >= 3 && (alias.starts_with(&name) || name.starts_with(alias.as_str()));
            (begins || distance <= 1 + alias.len() / 5).then_some((distance, alias))
        })
        .collect();
    near.sort();
    near.into_iter().map(|(_, alias)| alias.clone()).take(4).collect()
}

/// The least number of letters to put in, take out or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (pair, y) in row.windows(2).zip(&b) {
            left = (pair[0] + usize::from(x != *y)).min(pair[1] + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::fs;

    #[test]
    fn hub_ids_are_taken_apart() {
        let hub = hub_id("Qwen/Qwen3-0.6B@refs/pr/1:q/model.gguf").unwrap();
        assert_eq!(hub.to_string(), "Qwen/Qwen3-0.6B@refs/pr/1:q/model.gguf");
        assert_eq!((hub.revision(), hub.file.as_deref()), ("refs/pr/1", Some("q/model.gguf")));
        assert_eq!(hub_id("a/b").unwrap().revision(), "main");
        for bad in [
            "a",
            "a/b/c",
            "../b",
            "a/..",
            "a/b@../../x",
            "a/b@",
            "a/b:",
            "a/b:x.bin",
            "a/b:../x.gguf",
            "a/b:/x.gguf",
            "/a",
            "a b/c",
        ] {
            assert_eq!(hub_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn distances() {
        assert_eq!((distance("", "abc"), distance("kitten", "sitting"), distance("a", "a")), (3, 3, 0));
    }

    #[test]
    fn a_typing_error_is_answered_with_the_nearest_alias() {
        let folder = tempfile::tempdir().unwrap();
        let options = SourceOptions::in_folder(folder.path()).unwrap();
        for (name, alias) in
            [("smolm2", "smollm2"), ("lama3.2:1b", "llama3.2:1b"), ("SmolLM2", "smollm2"), ("qwen3", "qwen3:4b")]
        {
            let error = resolve(name, &options).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("did you mean") && error.contains(alias), "{error}");
        }
        let error = resolve("entirely-else", &options).map(|_| ()).unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }

    #[test]
    fn paths_are_models_only_with_a_model_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let options = SourceOptions::in_folder(folder.path()).unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let error = |name: &str| resolve(&path(name), &options).map(|_| ()).unwrap_err().to_string();
        assert!(error("none").contains("there is no"));
        fs::create_dir(path("m")).unwrap();
        assert!(error("m").contains("config.json"));
        fs::write(path("m/a.gguf"), "").unwrap();
        let kind =
            |name: &str| resolve(&path(name), &options).unwrap().on_this_machine(&options).map(|model| model.kind);
        assert_eq!((kind("m"), kind("m/a.gguf")), (Some(ModelKind::Gguf), Some(ModelKind::Gguf)));
        fs::write(path("m/b.gguf"), "").unwrap();
        assert!(error("m").contains("2 .gguf files"));
        fs::write(path("m/config.json"), "{}").unwrap();
        assert_eq!(kind("m"), Some(ModelKind::Folder));
        assert!(error("m/config.json").contains("another kind of file"));
    }

    #[test]
    fn aliases_of_the_user_may_stand_for_aliases_but_not_for_themselves_in_a_circle() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = SourceOptions::in_folder(folder.path()).unwrap();
        for (from, to) in [("mine", "better"), ("better", "smollm2"), ("a", "b"), ("b", "a"), ("smollm3", "smollm3")] {
            options.aliases.insert(from.to_owned(), to.to_owned());
        }
        assert!(matches!(resolve("mine", &options).unwrap(), Target::Sources { alias, .. } if alias == "smollm2"));
        assert!(resolve("a", &options).map(|_| ()).unwrap_err().to_string().contains("circle"));
        assert!(resolve("smollm3", &options).is_ok());
    }
}
