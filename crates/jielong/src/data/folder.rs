//! Folders of data sets and of anyone's own: the index, and what there is without one.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Content, DataError, Recipe, error, find, recipe};
use crate::sources::SourceOptions;
use crate::sources::cache::names;

/// Share of what is in a plain folder that is held out.
pub(super) const HELD_OUT: f64 = 0.125;
/// How deep folders are looked into.
const DEPTH: usize = 8;
/// Longest caption.
const CAPTION: u64 = 64 << 10;

/// A file of a plain folder.
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Its name without the ending.
    pub(super) stem: String,
    /// The name of the folder that it is in; empty for the folder itself.
    pub(super) folder: String,
    /// The content of the file with the same name and the ending `.txt`.
    pub(super) caption: Option<String>,
}

/// The folder itself, or that of a data set of the kind that is wanted.
pub(super) fn root(
    path_or_name: &str,
    options: &SourceOptions,
    (wanted, is_wanted): (&'static str, fn(&Content) -> bool),
) -> Result<PathBuf, DataError> {
    let path = Path::new(path_or_name);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    let recipe: Recipe = recipe(path_or_name)?;
    if !is_wanted(&recipe.content) {
        return Err(DataError::OtherKind { name: recipe.name, wanted });
    }
    find(&recipe, options).ok_or(DataError::NotHere { name: recipe.name })
}

/// Hash of the recipe that a folder was made by.
pub(super) fn made_by(folder: &Path) -> Option<String> {
    let index: Value = index(folder).ok()??;
    Some(index.get("recipe")?.as_str()?.to_owned())
}

/// The index of a folder, if it has one.
pub(super) fn index<T: DeserializeOwned>(folder: &Path) -> Result<Option<T>, DataError> {
    let path = folder.join("index.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error::io("read", &path)(error)),
    };
    let wrong = |error: serde_json::Error| bad_index(folder, error.to_string());
    let value: Value = serde_json::from_slice(&bytes).map_err(wrong)?;
    if value.get("recipe").is_none() {
        return Ok(None); // another program's
    }
    serde_json::from_value(value).map(Some).map_err(wrong)
}

/// The error of an index.
pub(super) fn bad_index(folder: &Path, why: String) -> DataError {
    DataError::Index { path: folder.join("index.json"), why }
}

/// The files of a folder whose first bytes are as wanted, then those of the folders in it, each in order of their names.
pub(super) fn walk(folder: &Path, wanted: &dyn Fn(&[u8]) -> bool) -> Result<Vec<Found>, DataError> {
    let mut found = Vec::new();
    walk_into(folder, "", 0, wanted, &mut found)?;
    Ok(found)
}

fn walk_into(
    folder: &Path,
    called: &str,
    depth: usize,
    wanted: &dyn Fn(&[u8]) -> bool,
    found: &mut Vec<Found>,
) -> Result<(), DataError> {
    let (folders, files): (Vec<_>, Vec<_>) = names(folder)
        .into_iter()
        .filter(|name| !name.starts_with('.'))
        .map(|name| (folder.join(&name), name))
        .partition(|(path, _)| path.is_dir());
    for (path, name) in files {
        if !path.is_file() || !wanted(&head(&path)) {
            continue;
        }
        let stem = Path::new(&name).file_stem().map_or(name.clone(), |stem| stem.to_string_lossy().into_owned());
        let caption = caption(&path.with_extension("txt"))?;
        found.push(Found { path, stem, folder: called.to_owned(), caption });
    }
    // A link to a folder may lead into a circle.
    for (path, name) in folders.into_iter().filter(|(path, _)| depth < DEPTH && !path.is_symlink()) {
        walk_into(&path, &name, depth + 1, wanted, found)?;
    }
    Ok(())
}

/// The first bytes of a file, none if it cannot be read.
pub(super) fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    read.map_or(Vec::new(), |_| head)
}

/// The words beside a file.
fn caption(path: &Path) -> Result<Option<String>, DataError> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(CAPTION).read_to_string(&mut text));
    read.map_err(error::io("read the caption", path))?;
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// Writes a file to the disk, so that it is there when the folder gets its name.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let written = File::create(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()));
    written.map_err(error::io("write", path))
}

/// Makes a folder and those above it.
pub(super) fn make(path: &Path) -> Result<(), DataError> {
    fs::create_dir_all(path).map_err(error::io("make the folder", path))
}
