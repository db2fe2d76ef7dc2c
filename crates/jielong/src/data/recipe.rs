//! A data set as data: `datasets/NAME.toml`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::DataError;
use crate::sources::cache::plain_file;
use crate::sources::error::toml_error;
use crate::sources::package::hex;
use crate::sources::{NpmPackage, SourceError};

/// What a data set is made of, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The name, which is that of its folder too.
    pub name: String,
    /// One line on it.
    pub description: String,
    /// Sides of the pictures, in pixels.
    pub size: u32,
    /// What is behind transparent pixels.
    pub background: [u8; 3],
    /// Share of the bases that is held out.
    pub held_out: f64,
    /// Names and tags of the subjects.
    pub names: Names,
    /// Which subjects are the same at bottom.
    pub bases: Bases,
    /// The same subjects, drawn in different ways.
    #[serde(rename = "style")]
    pub styles: Vec<Style>,
    /// SHA-256 of the recipe's text: what a finished folder remembers.
    #[serde(skip)]
    pub hash: String,
}

/// Names and tags, in the format of emojibase.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// The licence.
    pub license: String,
    /// Who is to be named.
    pub attribution: String,
    /// The package.
    pub package: NpmPackage,
    /// The file inside.
    pub member: String,
}

/// How an id, code points joined by `-`, leads to the base whose variant it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bases {
    /// Code points that are left out wherever something else is left, such as skin tones.
    pub modifiers: BTreeSet<String>,
    /// Code points that are left out together with the joiner before them, such as genders and hair.
    pub joined: BTreeSet<String>,
    /// Code points for which another stands.
    pub parts: BTreeMap<String, String>,
    /// What is left, for which another stands.
    pub wholes: BTreeMap<String, String>,
}

/// One way in which the subjects are drawn.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Style {
    /// The name, which is that of its folder too.
    pub name: String,
    /// Its full name.
    pub title: String,
    /// The licence.
    pub license: String,
    /// Who is to be named.
    pub attribution: String,
    /// The package.
    pub package: NpmPackage,
    /// How the pictures lie in it.
    pub form: Form,
}

/// How pictures lie in a package.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Form {
    /// SVG in one JSON file, in the format of Iconify.
    Iconify {
        /// The file with the drawings.
        icons: String,
        /// The file with the drawings' names by code point.
        characters: String,
    },
    /// Files named by code point.
    Files {
        /// The folder.
        folder: String,
        /// What their names end with.
        ending: String,
    },
}

impl Recipe {
    /// Reads a recipe; `file` is for errors.
    ///
    /// # Errors
    /// Other TOML, unknown or missing keys, values that cannot be right.
    pub fn parse(text: &str, file: &str) -> Result<Self, DataError> {
        let mut recipe: Self = toml::from_str(text).map_err(|error| toml_error(file.as_ref(), text, &error))?;
        recipe.hash = hex(Sha256::new_with_prefix(text.as_bytes()));
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

    /// All packages that it takes.
    pub fn packages(&self) -> impl Iterator<Item = &NpmPackage> {
        [&self.names.package].into_iter().chain(self.styles.iter().map(|style| &style.package))
    }

    fn check(&self) -> Result<(), (String, String)> {
        let wrong = |field: &str, why: &str| Err((field.to_owned(), why.to_owned()));
        if !plain_file(&self.name) {
            return wrong("name", "is no plain folder name");
        }
        if !(1..=1024).contains(&self.size) {
            return wrong("size", "is not between 1 and 1024");
        }
        if !(0.0..=0.5).contains(&self.held_out) {
            return wrong("held_out", "is not between 0 and 0.5");
        }
        if self.styles.is_empty() {
            return wrong("style", "is not there: at least one is needed");
        }
        for (index, style) in self.styles.iter().enumerate() {
            if !plain_file(&style.name) || self.styles.iter().take(index).any(|other| other.name == style.name) {
                return wrong(&format!("style.{index}.name"), "is no plain folder name, or is there twice");
            }
        }
        let packages =
            self.packages().zip(std::iter::once("names".to_owned()).chain((0..).map(|n| format!("style.{n}"))));
        for (package, place) in packages {
            if let Some((key, why)) = package.wrong() {
                return wrong(&format!("{place}.package.{key}"), why);
            }
        }
        Ok(())
    }
}
