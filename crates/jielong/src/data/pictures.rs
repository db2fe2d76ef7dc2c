//! A list of pictures with what is known of each: of a data set, or of any folder.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use jielong_image::picture::Picture;
use serde::{Deserialize, Serialize};

use super::{DataError, Split, error, find, normal, recipe, split};
use crate::sources::SourceOptions;
use crate::sources::cache::{names, plain_file};

/// Pictures, in an order that stays the same.
#[derive(Clone, Debug)]
pub struct Pictures {
    /// The name, or the folder as it was given.
    pub name: String,
    /// The folder.
    pub root: PathBuf,
    /// The pictures.
    pub entries: Vec<Entry>,
}

/// One picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The file.
    pub path: PathBuf,
    /// What it shows; pictures of the same subject in different styles pair up.
    pub subject: String,
    /// What the subject is a variant of, or the subject itself.
    pub base: String,
    /// How it is drawn; empty where nothing is known.
    pub style: String,
    /// What it shows, in words.
    pub text: String,
    /// More words.
    pub tags: Vec<String>,
    /// What it may be used for.
    pub split: Split,
}

/// The file `index.json` of a data set.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) recipe: String,
    pub(super) size: u32,
    pub(super) background: [u8; 3],
    pub(super) styles: Vec<IndexStyle>,
    pub(super) subjects: Vec<IndexEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IndexStyle {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) license: String,
    pub(super) attribution: String,
    pub(super) package: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IndexEntry {
    pub(super) id: String,
    pub(super) base: String,
    pub(super) split: Split,
    pub(super) name: String,
    pub(super) tags: Vec<String>,
    pub(super) styles: Vec<String>,
}

/// Share of the subjects of a plain folder that is held out.
const HELD_OUT: f64 = 0.125;
/// How deep folders are looked into.
const DEPTH: usize = 8;
/// Longest caption.
const CAPTION: u64 = 64 << 10;

impl Index {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // strings and numbers only: it cannot fail
    }
}

/// Hash of the recipe that a folder was made by.
pub(super) fn made_by(folder: &Path) -> Option<String> {
    index(folder).ok().flatten().map(|index| index.recipe)
}

impl Pictures {
    /// The pictures of a data set by its name, or of a folder: one with our `index.json`, or any.
    ///
    /// In any other folder each file that is a picture by its content is taken. Its subject is the file's name without the
    /// ending, its style the name of the folder that it is in (none for the folder itself), its text the content of a file
    /// with the same name and the ending `.txt`, or else the subject with spaces; and an eighth of the subjects is held out.
    ///
    /// # Errors
    /// No such name and no such folder; not fetched yet; a broken index; a folder without pictures.
    pub fn open(path_or_name: &str, options: &SourceOptions) -> Result<Self, DataError> {
        let path = Path::new(path_or_name);
        if path.is_dir() {
            return Self::of_folder(path_or_name, path);
        }
        let recipe = recipe(path_or_name)?;
        let root = find(&recipe, options).ok_or_else(|| DataError::NotHere { name: recipe.name.clone() })?;
        Self::of_folder(path_or_name, &root)
    }

    /// The pictures of one half.
    pub fn of(&self, split: Split) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.split == split)
    }

    fn of_folder(name: &str, root: &Path) -> Result<Self, DataError> {
        let entries = match index(root)? {
            Some(index) => indexed(root, index),
            None => {
                let mut entries = Vec::new();
                walk(root, "", 0, &mut entries)?;
                entries
            }
        };
        if entries.is_empty() {
            return Err(DataError::NoPictures { path: root.to_owned() });
        }
        Ok(Self { name: name.to_owned(), root: root.to_owned(), entries })
    }
}

/// The index of a folder, if it has one.
fn index(folder: &Path) -> Result<Option<Index>, DataError> {
    let path = folder.join("index.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error::io("read", &path)(error)),
    };
    let wrong = |why: String| DataError::Index { path: path.clone(), why };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if value.get("recipe").is_none() {
        return Ok(None); // another program's
    }
    let index: Index = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
    for entry in &index.subjects {
        // Both become parts of paths.
        if normal(&entry.id).as_ref() != Some(&entry.id) || !entry.styles.iter().all(|style| plain_file(style)) {
            return Err(wrong(format!("`{}` with the styles {:?} leads to no files", entry.id, entry.styles)));
        }
    }
    Ok(Some(index))
}

fn indexed(root: &Path, index: Index) -> Vec<Entry> {
    let entries = index.subjects.into_iter().flat_map(|subject| {
        let IndexEntry { id, base, split, name, tags, styles } = subject;
        styles.into_iter().map(move |style| Entry {
            path: root.join(&style).join(format!("{id}.png")),
            subject: id.clone(),
            base: base.clone(),
            style,
            text: name.clone(),
            tags: tags.clone(),
            split,
        })
    });
    entries.collect()
}

/// Takes the pictures of a folder, then those of the folders in it, each in order of their names.
fn walk(folder: &Path, style: &str, depth: usize, entries: &mut Vec<Entry>) -> Result<(), DataError> {
    let (folders, files): (Vec<_>, Vec<_>) = names(folder)
        .into_iter()
        .filter(|name| !name.starts_with('.'))
        .map(|name| (folder.join(&name), name))
        .partition(|(path, _)| path.is_dir());
    for (path, name) in files {
        if !path.is_file() || !is_picture(&path) {
            continue;
        }
        let subject = Path::new(&name).file_stem().map_or(name.clone(), |stem| stem.to_string_lossy().into_owned());
        let text = caption(&path.with_extension("txt"))?.unwrap_or_else(|| subject.replace(['-', '_'], " "));
        let (split, base) = (split(&subject, HELD_OUT), subject.clone());
        entries.push(Entry { path, subject, base, style: style.to_owned(), text, tags: Vec::new(), split });
    }
    // A link to a folder may lead into a circle.
    for (path, name) in folders.into_iter().filter(|(path, _)| depth < DEPTH && !path.is_symlink()) {
        walk(&path, &name, depth + 1, entries)?;
    }
    Ok(())
}

fn is_picture(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    read.is_ok() && Picture::format(&head).is_some()
}

/// The words beside a picture.
fn caption(path: &Path) -> Result<Option<String>, DataError> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(CAPTION).read_to_string(&mut text));
    read.map_err(error::io("read the caption", path))?;
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}
