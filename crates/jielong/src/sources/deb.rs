//! Files of Debian packages: `apt-get download` fetches one, whose hash is checked. Apt brings the mirrors and proxies that
//! the user has set up, and needs no rights for this; nothing of a package is installed or run.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::child::{self, NoFile};
use super::package::{check, sha256};
use super::{Progress, SourceError, SourceOptions};

/// One package file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebPackage {
    /// The package's name.
    pub name: String,
    /// The exact version.
    pub version: String,
    /// The length of the file.
    pub bytes: u64,
    /// The SHA-256 of the file in hex.
    pub sha256: String,
}

impl DebPackage {
    /// What is wrong with the description, if anything: the name of the key, and why.
    pub(crate) fn wrong(&self) -> Option<(&'static str, &'static str)> {
        let fine = |text: &str, more: &str| {
            let all = text.bytes().all(|b| b.is_ascii_alphanumeric() || more.as_bytes().contains(&b));
            all && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        };
        if !fine(&self.name, "+.-") {
            return Some(("name", "is no name of a Debian package"));
        }
        if !fine(&self.version, ".+~:-") || !self.version.starts_with(|c: char| c.is_ascii_digit()) {
            return Some(("version", "is no exact version"));
        }
        let hex = self.sha256.len() == 64 && self.sha256.bytes().all(|b| b.is_ascii_hexdigit());
        (!hex).then_some(("sha256", "is not 64 hex digits"))
    }
}

impl fmt::Display for DebPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.version)
    }
}

/// Fetches a package into a folder that is empty or not there yet.
pub(crate) fn fetch(
    package: &DebPackage,
    folder: &Path,
    options: &SourceOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, SourceError> {
    let mut command = Command::new(&options.apt);
    command.args(["-q", "download"]).arg(package.to_string()).env("LC_ALL", "C");
    let found = child::file(&mut command, (folder, ".deb"), (&package.to_string(), package.bytes), progress);
    let file = found.map_err(|reason| match reason {
        NoFile::Source(error) => error,
        NoFile::Start(reason) => SourceError::NoApt { command: options.apt.to_string_lossy().into_owned(), reason },
        NoFile::Ended { status, message } => SourceError::AptFailed { package: package.to_string(), status, message },
    })?;
    check(&package.to_string(), &sha256(&file)?, &package.sha256)?;
    Ok(file)
}
