//! A list of pictures with what is known of each: of a data set, or of any folder.

use std::path::{Path, PathBuf};

use jielong_image::picture::Picture;
use serde::{Deserialize, Serialize};

use super::recipe::Part;
use super::{Content, DataError, Split, folder, normal, split};
use crate::sources::SourceOptions;
use crate::sources::cache::plain_file;

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
    pub(super) styles: Vec<Part>,
    pub(super) subjects: Vec<IndexEntry>,
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

impl Index {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // strings and numbers only: it cannot fail
    }
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
        let pictures = |content: &Content| matches!(content, Content::Pictures(_));
        let root = folder::root(path_or_name, options, ("pictures", pictures))?;
        let entries = match folder::index::<Index>(&root)? {
            Some(index) => indexed(&root, index)?,
            None => folder::walk(&root, &|head| Picture::format(head).is_some())?.into_iter().map(found).collect(),
        };
        if entries.is_empty() {
            return Err(DataError::NoPictures { path: root });
        }
        Ok(Self { name: path_or_name.to_owned(), root, entries })
    }

    /// The pictures of one half.
    pub fn of(&self, split: Split) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.split == split)
    }
}

fn indexed(root: &Path, index: Index) -> Result<Vec<Entry>, DataError> {
    for entry in &index.subjects {
        // Both become parts of paths.
        if normal(&entry.id).as_ref() != Some(&entry.id) || !entry.styles.iter().all(|style| plain_file(style)) {
            let why = format!("`{}` with the styles {:?} leads to no files", entry.id, entry.styles);
            return Err(folder::bad_index(root, why));
        }
    }
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
    Ok(entries.collect())
}

fn found(file: folder::Found) -> Entry {
    let subject = file.stem;
    Entry {
        path: file.path,
        base: subject.clone(),
        style: file.folder,
        text: file.caption.unwrap_or_else(|| subject.replace(['-', '_'], " ")),
        tags: Vec::new(),
        split: split(&subject, folder::HELD_OUT),
        subject,
    }
}
