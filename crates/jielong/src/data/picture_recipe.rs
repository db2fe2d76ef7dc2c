//! What a data set of pictures is made of: one drawing of each subject in each style, from npm packages.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::recipe::{Part, wrong};
use crate::sources::NpmPackage;
use crate::sources::cache::plain_file;

/// Pictures of the same subjects in several styles.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureRecipe {
    /// Sides of the pictures, in pixels.
    pub size: u32,
    /// What is behind transparent pixels.
    pub background: [u8; 3],
    /// Names and tags of the subjects.
    pub names: Names,
    /// Which subjects are the same at bottom.
    pub bases: Bases,
    /// The same subjects, drawn in different ways.
    #[serde(rename = "style")]
    pub styles: Vec<Style>,
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

impl PictureRecipe {
    /// All packages that it takes: the names', and one for each style.
    pub fn packages(&self) -> impl Iterator<Item = &NpmPackage> {
        [&self.names.package].into_iter().chain(self.styles.iter().map(|style| &style.package))
    }

    /// Styles and names with their licences.
    pub(super) fn parts(&self) -> Vec<Part> {
        self.styles.iter().map(Style::part).collect()
    }

    pub(super) fn check(&self) -> Result<(), (String, String)> {
        if !(1..=1024).contains(&self.size) {
            return wrong("size", "is not between 1 and 1024");
        }
        if self.styles.is_empty() {
            return wrong("style", "is not there: at least one is needed");
        }
        for (index, style) in self.styles.iter().enumerate() {
            if !plain_file(&style.name) || self.styles.iter().take(index).any(|other| other.name == style.name) {
                return wrong(&format!("style.{index}.name"), "is no plain folder name, or is there twice");
            }
        }
        let places = std::iter::once("names".to_owned()).chain((0..).map(|n| format!("style.{n}")));
        for (package, place) in self.packages().zip(places) {
            if let Some((key, why)) = package.wrong() {
                return wrong(&format!("{place}.package.{key}"), why);
            }
        }
        Ok(())
    }
}

impl Style {
    fn part(&self) -> Part {
        Part {
            name: self.name.clone(),
            title: self.title.clone(),
            license: self.license.clone(),
            attribution: self.attribution.clone(),
            package: self.package.to_string(),
        }
    }
}
