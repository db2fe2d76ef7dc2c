//! Checkpoints: folders that are made beside their place and then moved there, and that know the hash of every file.
//!
//! Whatever breaks off while one is made (a full disk, `kill -9`, a power cut), the one before it is untouched: files and
//! folder reach the disk before the folder gets its name, and older ones go only after that. The last two are kept, so that
//! one whose bytes went bad later has another behind it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{TaskError, files};

const FORMAT: u32 = 1;
const KEPT: usize = 2;
const MANIFEST: &str = "manifest.json";
const SEAL: &str = "manifest.sha256";
/// How folders begin that are not finished.
const PARTIAL: &str = ".partial-";

/// Where a run was, and what is in its files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// Steps that were made.
    pub step: u64,
    /// Items that were learned from: the position in the order of the data.
    pub position: u64,
    /// The seed; with the position, the state of all chance.
    pub seed: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// What the run was begun with.
    pub recipe: String,
    /// The files of the task.
    pub files: BTreeMap<String, Entry>,
}

/// A file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

/// Why a checkpoint cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system cannot read or write it.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not as it was written.
    #[error("{path}: SHA-256 is {found} of {found_bytes} bytes, the checkpoint was made with {expected}")]
    Hash {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// Its size.
        found_bytes: u64,
        /// The hash in the manifest.
        expected: String,
    },
    /// The manifest says what cannot be.
    #[error("{path}: {problem}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The task could not write its files.
    #[error("{path}: {source}")]
    Task {
        /// The folder.
        path: PathBuf,
        /// What it said.
        source: TaskError,
    },
}

fn failed(path: &Path) -> impl Fn(io::Error) -> CheckpointError {
    move |source| CheckpointError::File { path: path.to_path_buf(), source }
}

/// The folder of a step.
fn folder(all: &Path, step: u64) -> PathBuf {
    all.join(format!("step-{step:09}"))
}

/// Steps that have a folder, the last first.
fn steps(all: &Path) -> io::Result<Vec<u64>> {
    let mut steps = Vec::new();
    for entry in std::fs::read_dir(all)? {
        let name = entry?.file_name();
        steps.extend(name.to_str().and_then(|name| name.strip_prefix("step-")).and_then(|n| n.parse::<u64>().ok()));
    }
    steps.sort_unstable_by(|a, b| b.cmp(a));
    Ok(steps)
}

/// Makes a checkpoint of what `write` writes into the folder that it is given; `manifest.files` is filled in.
pub(super) fn save(
    all: &Path,
    mut manifest: Manifest,
    write: impl FnOnce(&Path) -> Result<(), TaskError>,
) -> Result<PathBuf, CheckpointError> {
    let partial = all.join(format!("{PARTIAL}{}", manifest.step));
    let place = folder(all, manifest.step);
    let make = || -> Result<(), CheckpointError> {
        std::fs::create_dir_all(&partial).map_err(failed(&partial))?;
        write(&partial).map_err(|source| CheckpointError::Task { path: partial.clone(), source })?;
        for entry in std::fs::read_dir(&partial).map_err(failed(&partial))? {
            let path = entry.map_err(failed(&partial))?.path();
            files::sync(&path).map_err(failed(&path))?;
            let (bytes, sha256) = files::hash(&path).map_err(failed(&path))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            manifest.files.insert(name, Entry { bytes, sha256 });
        }
        manifest.format = FORMAT;
        let text = serde_json::to_string_pretty(&manifest).map_err(|e| failed(&partial)(e.into()))?;
        for (name, text) in [(SEAL, files::hash_of(text.as_bytes())), (MANIFEST, text)] {
            let path = partial.join(name);
            files::replace(&path, text.as_bytes()).map_err(failed(&path))?;
        }
        files::sync(&partial).map_err(failed(&partial))?;
        if place.exists() {
            // Damaged, or this run would not have come to its step again.
            std::fs::remove_dir_all(&place).map_err(failed(&place))?;
        }
        std::fs::rename(&partial, &place).map_err(failed(&place))?;
        files::sync(all).map_err(failed(all))
    };
    make().inspect_err(|_| {
        // Whether it is there or not: it is of no use.
        let _ = std::fs::remove_dir_all(&partial);
    })?;
    for step in steps(all).map_err(failed(all))?.into_iter().filter(|&step| step <= manifest.step).skip(KEPT) {
        let old = folder(all, step);
        std::fs::remove_dir_all(&old).map_err(failed(&old))?;
    }
    Ok(place)
}

/// Removes what an earlier process left unfinished.
pub(super) fn sweep(all: &Path) -> Result<(), CheckpointError> {
    for entry in std::fs::read_dir(all).map_err(failed(all))? {
        let path = entry.map_err(failed(all))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PARTIAL)) {
            std::fs::remove_dir_all(&path).map_err(failed(&path))?;
        }
    }
    Ok(())
}

/// The last checkpoint of a run's folder whose files are all as they were written, and why later ones are not.
///
/// # Errors
/// [`CheckpointError::File`], if the folder cannot be read; a run without checkpoints has none.
#[allow(clippy::type_complexity)]
pub fn latest(out: &Path) -> Result<(Option<(Manifest, PathBuf)>, Vec<CheckpointError>), CheckpointError> {
    let all = out.join("checkpoints");
    let mut problems = Vec::new();
    let steps = match steps(&all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        steps => steps.map_err(failed(&all))?,
    };
    for step in steps {
        let place = folder(&all, step);
        match read(&place, step) {
            Ok(manifest) => return Ok((Some((manifest, place)), problems)),
            Err(error) => problems.push(error),
        }
    }
    Ok((None, problems))
}

/// Reads a manifest and compares all files with it.
fn read(place: &Path, step: u64) -> Result<Manifest, CheckpointError> {
    let path = place.join(MANIFEST);
    let text = std::fs::read(&path).map_err(failed(&path))?;
    let seal = place.join(SEAL);
    let expected = std::fs::read_to_string(&seal).map_err(failed(&seal))?;
    let found = files::hash_of(&text);
    if found != expected {
        let found_bytes = text.len() as u64;
        return Err(CheckpointError::Hash { path, found, found_bytes, expected });
    }
    let wrong = |problem: String| CheckpointError::Manifest { path: path.clone(), problem };
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if manifest.format != FORMAT || manifest.step != step {
        let Manifest { format, step: found, .. } = manifest;
        return Err(wrong(format!("format {format} of step {found}; format {FORMAT} of step {step} is expected")));
    }
    for (name, entry) in &manifest.files {
        if name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(wrong(format!("`{name}` is not a file of this folder")));
        }
        let path = place.join(name);
        let (found_bytes, found) = files::hash(&path).map_err(failed(&path))?;
        if found != entry.sha256 || found_bytes != entry.bytes {
            return Err(CheckpointError::Hash { path, found, found_bytes, expected: entry.sha256.clone() });
        }
    }
    Ok(manifest)
}
