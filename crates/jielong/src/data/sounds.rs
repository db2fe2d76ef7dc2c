//! A list of recordings with what is known of each: of a data set, or of any folder.

use std::path::{Path, PathBuf};

use jielong_audio::sound::Sound;
use serde::{Deserialize, Serialize};

use super::recipe::Part;
use super::{Content, DataError, Split, folder, split};
use crate::sources::SourceOptions;
use crate::sources::cache::plain_file;

/// Recordings, in an order that stays the same.
#[derive(Clone, Debug)]
pub struct Sounds {
    /// The name, or the folder as it was given.
    pub name: String,
    /// The folder.
    pub root: PathBuf,
    /// The recordings.
    pub entries: Vec<Recording>,
}

/// One recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The file.
    pub path: PathBuf,
    /// What is said; recordings of the same prompt by different voices pair up.
    pub prompt: String,
    /// Who or what is heard; empty where nothing is known.
    pub voice: String,
    /// The language, as an ISO 639 code; empty where nothing is known.
    pub language: String,
    /// What is said, in words; empty where nothing is known.
    pub text: String,
    /// What it may be used for.
    pub split: Split,
    /// The length; `None` where only reading the file would tell.
    pub seconds: Option<f64>,
}

/// The file `index.json` of a data set.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) recipe: String,
    /// Samples a second.
    pub(super) rate: u32,
    pub(super) voices: Vec<Part>,
    pub(super) entries: Vec<IndexEntry>,
}

/// A recording of a data set: the file is `VOICE/PROMPT.wav`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IndexEntry {
    /// `VOICE/PROMPT`.
    pub(super) id: String,
    pub(super) language: String,
    pub(super) text: String,
    pub(super) split: Split,
    pub(super) seconds: f64,
}

impl Index {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // strings and numbers only: it cannot fail
    }
}

impl Sounds {
    /// The recordings of a data set by its name, or of a folder: one with our `index.json`, or any.
    ///
    /// In any other folder each file that is a recording by its content is taken. Its prompt is the file's name without the
    /// ending, its voice the name of the folder that it is in (none for the folder itself), its text the content of a file
    /// with the same name and the ending `.txt`; and an eighth of the prompts is held out.
    ///
    /// # Errors
    /// No such name and no such folder; not fetched yet; a broken index; a folder without recordings.
    pub fn open(path_or_name: &str, options: &SourceOptions) -> Result<Self, DataError> {
        let sound = |content: &Content| matches!(content, Content::Recordings(_) | Content::Speech(_));
        let root = folder::root(path_or_name, options, ("sound", sound))?;
        let entries = match folder::index::<Index>(&root)? {
            Some(index) => indexed(&root, index)?,
            None => folder::walk(&root, &is_sound)?.into_iter().map(found).collect(),
        };
        if entries.is_empty() {
            return Err(DataError::NoSounds { path: root });
        }
        Ok(Self { name: path_or_name.to_owned(), root, entries })
    }

    /// The recordings of one half.
    pub fn of(&self, split: Split) -> impl Iterator<Item = &Recording> {
        self.entries.iter().filter(move |entry| entry.split == split)
    }
}

fn indexed(root: &Path, index: Index) -> Result<Vec<Recording>, DataError> {
    let recording = |entry: IndexEntry| match entry.id.split_once('/') {
        // Both become parts of paths.
        Some((voice, prompt)) if plain_file(voice) && plain_file(prompt) => Ok(Recording {
            path: root.join(voice).join(format!("{prompt}.wav")),
            prompt: prompt.to_owned(),
            voice: voice.to_owned(),
            language: entry.language,
            text: entry.text,
            split: entry.split,
            seconds: Some(entry.seconds),
        }),
        _ => Err(folder::bad_index(root, format!("`{}` leads to no file", entry.id))),
    };
    index.entries.into_iter().map(recording).collect()
}

fn found(file: folder::Found) -> Recording {
    Recording {
        path: file.path,
        split: split(&file.stem, folder::HELD_OUT),
        prompt: file.stem,
        voice: file.folder,
        language: String::new(),
        text: file.caption.unwrap_or_default(),
        seconds: None,
    }
}

/// Whether a file begins as a recording does.
pub fn is_recording(path: &Path) -> bool {
    is_sound(&folder::head(path))
}

/// Tags of MP3 files come before anything that tells the format.
fn is_sound(head: &[u8]) -> bool {
    Sound::format(head).is_some() || head.starts_with(b"ID3")
}
