//! A data set as data: `datasets/NAME.toml`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::{DeTable, Deserializer, Error};

use super::picture_recipe::PictureRecipe;
use super::sound_recipe::{RecordingRecipe, SpeechRecipe};
use super::{DataError, Split, split};
use crate::sources::SourceError;
use crate::sources::cache::plain_file;
use crate::sources::error::toml_error;
use crate::sources::package::hex;

/// What a data set is made of, and how.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The name, which is that of its folder too.
    pub name: String,
    /// One line on it.
    pub description: String,
    /// Share of what it shows or says that is held out.
    pub held_out: f64,
    /// What there is.
    pub content: Content,
    /// SHA-256 of the recipe's text: what a finished folder remembers.
    pub hash: String,
}

/// What there is in a data set.
#[derive(Clone, Debug)]
pub enum Content {
    /// Pictures of subjects in several styles.
    Pictures(PictureRecipe),
    /// Recordings of the same prompts by several speakers.
    Recordings(RecordingRecipe),
    /// Texts read by a program in several voices.
    Speech(SpeechRecipe),
}

/// What comes from one place: a style of pictures, a voice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The name, which is that of its folder too.
    pub name: String,
    /// Its full name.
    pub title: String,
    /// The licence.
    pub license: String,
    /// Who is to be named.
    pub attribution: String,
    /// The package, or the program, with its version.
    pub package: String,
}

/// The keys that every recipe has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    #[serde(default)]
    kind: Kind,
    name: String,
    description: String,
    held_out: f64,
}

/// Pictures, where a recipe does not say.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Pictures,
    Recordings,
    Speech,
}

impl Recipe {
    /// Reads a recipe; `file` is for errors.
    ///
    /// # Errors
    /// Other TOML, unknown or missing keys, values that cannot be right.
    pub fn parse(text: &str, file: &str) -> Result<Self, DataError> {
        let (head, content) = parts(text).map_err(|error| toml_error(file.as_ref(), text, &error))?;
        let hash = hex(Sha256::new_with_prefix(text.as_bytes()));
        let recipe = Self { name: head.name, description: head.description, held_out: head.held_out, content, hash };
        recipe.check().map_err(|(field, why)| DataError::Recipe { file: file.to_owned(), field, why })?;
        Ok(recipe)
    }

    /// Reads the recipe in a file.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and the file system.
    pub fn open(path: &std::path::Path) -> Result<Self, DataError> {
        let text = std::fs::read_to_string(path).map_err(SourceError::io("read", path))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Its styles or voices.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        match &self.content {
            Content::Pictures(pictures) => pictures.parts(),
            Content::Recordings(recordings) => recordings.parts(),
            Content::Speech(speech) => speech.parts("espeak-ng"),
        }
    }

    /// All licences.
    #[must_use]
    pub fn licenses(&self) -> BTreeSet<String> {
        let names = match &self.content {
            Content::Pictures(pictures) => Some(pictures.names.license.clone()),
            _ => None,
        };
        self.parts().into_iter().map(|part| part.license).chain(names).collect()
    }

    /// The packages that it takes, each with its length in bytes.
    #[must_use]
    pub fn packages(&self) -> Vec<(String, u64)> {
        match &self.content {
            Content::Pictures(pictures) => pictures.packages().map(|one| (one.to_string(), one.bytes)).collect(),
            Content::Recordings(recordings) => recordings.packages().map(|one| (one.to_string(), one.bytes)).collect(),
            Content::Speech(_) => Vec::new(),
        }
    }

    /// The half of what is shown or said.
    pub(super) fn split(&self, what: &str) -> Split {
        split(what, self.held_out)
    }

    fn check(&self) -> Result<(), (String, String)> {
        if !plain_file(&self.name) {
            return wrong("name", "is no plain folder name");
        }
        if !(0.0..=0.5).contains(&self.held_out) {
            return wrong("held_out", "is not between 0 and 0.5");
        }
        match &self.content {
            Content::Pictures(pictures) => pictures.check(),
            Content::Recordings(recordings) => recordings.check(),
            Content::Speech(speech) => speech.check(),
        }
    }
}

/// The keys of every recipe, and those of its kind.
fn parts(text: &str) -> Result<(Head, Content), Error> {
    let mut rest = DeTable::parse(text)?;
    let mut head = Spanned::new(rest.span(), DeTable::new());
    for key in ["kind", "name", "description", "held_out"] {
        head.get_mut().extend(rest.get_mut().remove_entry(key));
    }
    let head = Head::deserialize(Deserializer::from(head))?;
    let rest = Deserializer::from(rest);
    let content = match head.kind {
        Kind::Pictures => Content::Pictures(PictureRecipe::deserialize(rest)?),
        Kind::Recordings => Content::Recordings(RecordingRecipe::deserialize(rest)?),
        Kind::Speech => Content::Speech(SpeechRecipe::deserialize(rest)?),
    };
    Ok((head, content))
}

/// What is wrong with a key.
pub(super) fn wrong(field: &str, why: &str) -> Result<(), (String, String)> {
    Err((field.to_owned(), why.to_owned()))
}
