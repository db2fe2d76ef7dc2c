//! What there is: the aliases, and what else lies in the caches.

use std::path::{Path, PathBuf};

use super::aliases::{Hub, Source};
use super::name::{cached, resolve};
use super::{SourceOptions, cache, hub};
use crate::codecs;
use crate::mixed::MixedConfig;

/// One line of the list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The name to give.
    pub name: String,
    /// One line on the model; empty if nothing is known.
    pub description: String,
    /// The licence, when known.
    pub license: Option<String>,
    /// Where it is on this machine.
    pub cached: Option<PathBuf>,
    /// The size on this machine, or of the download, when known.
    pub bytes: Option<u64>,
    /// `program`, `hub`, `package`, `folder` or `file`: where it came from, or would come from first; empty if the name leads nowhere.
    pub origin: String,
}

/// The built-in aliases, what comes with the program, then the user's aliases, then the other models in the hub's cache.
#[must_use]
pub fn list(options: &SourceOptions) -> Vec<Listed> {
    let shipped = |(name, path): (String, PathBuf)| Listed {
        name,
        description: format!("comes with jielong{}", kinds(&path)),
        license: cache::readme_license(&path),
        bytes: cache::size(&path).ok(),
        cached: Some(path),
        origin: "program".to_owned(),
    };
    let mut listed = Vec::new();
    for entry in &options.catalog.entries {
        let found = entry.sources.iter().find_map(|source| Some((source, cached(&entry.name, source, options)?.0)));
        let source = found.as_ref().map(|(source, _)| *source).or(entry.sources.first());
        let path = found.map(|(_, path)| path);
        listed.push(Listed {
            name: entry.name.clone(),
            description: entry.description.clone(),
            license: Some(entry.license.clone()),
            bytes: path
                .as_ref()
                .and_then(|path| cache::size(path).ok())
                .or_else(|| entry.sources.iter().find_map(download)),
            cached: path,
            origin: source.map_or_else(String::new, |source| source.origin().to_owned()),
        });
    }
    listed.extend(codecs::models().into_iter().map(shipped));
    listed.extend(options.aliases.iter().map(|(name, meant)| aliased(name, meant, options)));
    for (repo, path) in hub::repositories(options) {
        if !listed.iter().any(|known| known.cached.as_ref() == Some(&path)) {
            listed.push(Listed {
                name: repo,
                description: String::new(),
                license: cache::readme_license(&path),
                bytes: cache::size(&path).ok(),
                cached: Some(path),
                origin: "hub".to_owned(),
            });
        }
    }
    listed
}

/// The kinds of tokens of a model of several.
fn kinds(folder: &Path) -> String {
    let config = MixedConfig::open(folder).ok().flatten();
    let names = |config: MixedConfig| config.vocab.kinds.into_iter().map(|kind| kind.name).collect::<Vec<_>>();
    config.map_or_else(String::new, |config| format!(": {}", names(config).join(", ")))
}

fn aliased(name: &str, meant: &str, options: &SourceOptions) -> Listed {
    let model = resolve(name, options).ok().and_then(|target| target.on_this_machine(options));
    let origin = || if Hub::is_id(meant) || options.catalog.entry(meant).is_some() { "hub" } else { "" }.to_owned();
    Listed {
        name: name.to_owned(),
        description: format!("stands for {meant}"),
        license: model.as_ref().and_then(|model| model.license.clone()),
        bytes: model.as_ref().and_then(|model| cache::size(&model.path).ok()),
        origin: model.as_ref().map_or_else(origin, |model| model.origin.clone()),
        cached: model.map(|model| model.path),
    }
}

/// The length of a download, when it is known beforehand.
fn download(source: &Source) -> Option<u64> {
    match source {
        Source::Hub(_) => None,
        Source::Package(package) => Some(package.parts.iter().map(|part| part.bytes).sum()),
    }
}
