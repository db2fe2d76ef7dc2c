//! Files of npm packages: `npm pack` fetches a tarball, whose hash is checked. Npm brings the registry and proxies that the
//! user has set up; nothing of a package is installed or run.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::child::{self, NoFile};
use super::package::{check, sha256};
use super::{Progress, SourceError, SourceOptions};

/// One tarball.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NpmPackage {
    /// The package's name.
    pub name: String,
    /// The exact version.
    pub version: String,
    /// The length of the tarball.
    pub bytes: u64,
    /// The SHA-256 of the tarball in hex.
    pub sha256: String,
}

impl NpmPackage {
    /// What is wrong with the description, if anything: the name of the key, and why.
    pub(crate) fn wrong(&self) -> Option<(&'static str, &'static str)> {
        let fine = |text: &str, more: &str| {
            let all = text.bytes().all(|b| b.is_ascii_alphanumeric() || more.as_bytes().contains(&b));
            all && !text.is_empty() && !text.starts_with(['-', '.', '/'])
        };
        if !fine(&self.name, "@/._-") {
            return Some(("name", "is no name of an npm package"));
        }
        if !fine(&self.version, ".-+") || !self.version.starts_with(|c: char| c.is_ascii_digit()) {
            return Some(("version", "is no exact version"));
        }
        let hex = self.sha256.len() == 64 && self.sha256.bytes().all(|b| b.is_ascii_hexdigit());
        (!hex).then_some(("sha256", "is not 64 hex digits"))
    }
}

impl fmt::Display for NpmPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// Fetches a tarball into a folder that is empty or not there yet.
pub(crate) fn fetch(
    package: &NpmPackage,
    folder: &Path,
    options: &SourceOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, SourceError> {
    let mut command = Command::new(&options.npm);
    command.args(["pack", "--silent", "--ignore-scripts", "--no-update-notifier", "--pack-destination"]);
    command.arg(folder).arg(package.to_string());
    let found = child::file(&mut command, (folder, ".tgz"), (&package.to_string(), package.bytes), progress);
    let tarball = found.map_err(|reason| match reason {
        NoFile::Source(error) => error,
        NoFile::Start(reason) => SourceError::NoNpm { command: options.npm.to_string_lossy().into_owned(), reason },
        NoFile::Ended { status, message } => SourceError::NpmFailed { package: package.to_string(), status, message },
    })?;
    check(&package.to_string(), &sha256(&tarball)?, &package.sha256)?;
    Ok(tarball)
}
