//! What can go wrong on the way to a model, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::aliases::Hub;

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The name means nothing.
    #[error(
        "no model is called `{name}`: it is no folder with a config.json, no .gguf file, no alias and no hub id (owner/name){}; `jielong list` shows the aliases",
        Near(near)
    )]
    Unknown {
        /// The name.
        name: String,
        /// Aliases that look like it, nearest first.
        near: Vec<String>,
    },
    /// A name that cannot be right.
    #[error("`{name}` {why}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// A path that is not there.
    #[error("there is no `{}`; check the path, or name an alias or a hub id (owner/name)", path.display())]
    NoSuchPath {
        /// The path.
        path: PathBuf,
    },
    /// A path that holds no model.
    #[error("`{}` is no model: found {found}, expected {expected}", path.display())]
    NotAModel {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What a model would have.
        expected: &'static str,
    },
    /// A TOML file of ours or the user's.
    #[error("{}:{line}:{column}: {message} (in `{text}`)", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong, with the key.
        message: String,
        /// The line itself.
        text: String,
    },
    /// The file system.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// There is no folder for the cache.
    #[error("there is no home folder for the model cache; set JIELONG_CACHE (and HF_HOME) to a folder")]
    NoCacheFolder,
    /// The network is not to be used.
    #[error("`{name}` is not on this machine, and offline is set; without it the model would come from: {}", sources.join(", "))]
    Offline {
        /// The name.
        name: String,
        /// Where it would come from.
        sources: Vec<String>,
    },
    /// No source worked.
    #[error("`{name}` could not be fetched{}", Reasons(failures))]
    AllFailed {
        /// The name.
        name: String,
        /// Each source with its reason, in the order tried.
        failures: Vec<Failure>,
    },
    /// The hub did not answer.
    #[error(
        "{endpoint} cannot be reached: {reason}; check the network or the proxy settings, or set HF_ENDPOINT to a mirror"
    )]
    Unreachable {
        /// The hub's address.
        endpoint: String,
        /// The reason.
        reason: String,
    },
    /// The hub wants a licence accepted or a better token.
    #[error("{}", gated(*status, hub, endpoint, *token))]
    Gated {
        /// 401 or 403.
        status: u16,
        /// The repository.
        hub: Box<Hub>,
        /// The hub's address.
        endpoint: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The hub does not know it.
    #[error("the hub has no {what} `{hub}` that this token may see (status {status}): it does not exist, or is private. Check the spelling at {endpoint}/{}, or set HF_TOKEN to a token with access", hub.repo)]
    Missing {
        /// 401 or 404.
        status: u16,
        /// Model or revision.
        what: &'static str,
        /// The repository.
        hub: Box<Hub>,
        /// The hub's address.
        endpoint: String,
    },
    /// A repository without a file that is needed.
    #[error("`{hub}` has no {file}{}", Files(gguf, hub))]
    NoFile {
        /// The file.
        file: String,
        /// The repository.
        hub: Box<Hub>,
        /// GGUF files that it has.
        gguf: Vec<String>,
    },
    /// Another status.
    #[error("{url} answered {status}{}; try again later", if message.is_empty() { String::new() } else { format!(" ({message})") })]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// An answer that makes no sense.
    #[error("{url} answered with {found}, expected {expected}; is HF_ENDPOINT a hub, or a proxy in the way?")]
    BadAnswer {
        /// What was asked for.
        url: String,
        /// What came.
        found: String,
        /// What should have come.
        expected: &'static str,
    },
    /// A transfer ended too early, also after trying again.
    #[error("{file} broke off after {have} of {} bytes: {reason}; run it again to continue from there", bytes.map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string()))]
    Interrupted {
        /// The file.
        file: String,
        /// Bytes that are there.
        have: u64,
        /// Bytes of the whole.
        bytes: Option<u64>,
        /// The reason.
        reason: String,
    },
    /// A file of the wrong length.
    #[error("{file} has {found} bytes, expected {expected}; it was thrown away, try again")]
    WrongLength {
        /// The file.
        file: String,
        /// Its length.
        found: u64,
        /// The length it should have.
        expected: u64,
    },
    /// A file with the wrong content.
    #[error(
        "{file} has SHA-256 {found}, expected {expected}; it was thrown away, try again, and do not trust this source if it stays so"
    )]
    WrongHash {
        /// The file.
        file: String,
        /// Its hash.
        found: String,
        /// The hash it should have.
        expected: String,
    },
    /// Python cannot be started.
    #[error("`{command}` cannot be started ({reason}); install Python 3 with pip, or set JIELONG_PYTHON to its path")]
    NoPython {
        /// The command.
        command: String,
        /// The reason.
        reason: String,
    },
    /// Python has no pip.
    #[error(
        "`{command}` has no pip; install it (`{command} -m ensurepip`, or your system's python3-pip), or set JIELONG_PYTHON to a Python that has it"
    )]
    NoPip {
        /// The command.
        command: String,
    },
    /// Pip failed.
    #[error("pip could not download {package} ({status}): {message}")]
    PipFailed {
        /// Name and version.
        package: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        message: String,
    },
    /// Npm cannot be started.
    #[error("`{command}` cannot be started ({reason}); install Node.js with npm, or set JIELONG_NPM to its path")]
    NoNpm {
        /// The command.
        command: String,
        /// The reason.
        reason: String,
    },
    /// Npm failed.
    #[error("npm could not fetch {package} ({status}): {message}")]
    NpmFailed {
        /// Name and version.
        package: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        message: String,
    },
    /// Apt cannot be started.
    #[error(
        "`{command}` cannot be started ({reason}); packages of Debian are fetched by apt-get, which Debian and Ubuntu have: set JIELONG_APT to its path, or to a program that takes the same arguments"
    )]
    NoApt {
        /// The command.
        command: String,
        /// The reason.
        reason: String,
    },
    /// Apt failed.
    #[error("apt-get could not download {package} ({status}): {message} (its lists may be old: `apt-get update`)")]
    AptFailed {
        /// Name and version.
        package: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        message: String,
    },
    /// The wheel is not as described.
    #[error("{package}: found {found}, expected {expected}")]
    Wheel {
        /// Name and version.
        package: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
}

/// A source that failed.
#[derive(Debug)]
pub struct Failure {
    /// The source, in words.
    pub place: String,
    /// Why.
    pub reason: SourceError,
}

impl SourceError {
    /// For `map_err`: a file system error with its path.
    pub(crate) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// The message up to the first line break.
    pub(super) fn first_line(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().to_owned()
    }
}

/// A TOML error with file, line, column and the line's text.
pub(crate) fn toml_error(path: &Path, text: &str, error: &toml::de::Error) -> SourceError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    let message = error.message().lines().collect::<Vec<_>>().join("; ");
    let text = text.lines().nth(line - 1).unwrap_or_default().trim().chars().take(120).collect();
    SourceError::Config { path: path.to_owned(), line, column, message, text }
}

fn gated(status: u16, hub: &Hub, endpoint: &str, token: bool) -> String {
    let repo = &hub.repo;
    let found = if token { "the token that was sent has no access" } else { "no token was sent" };
    format!(
        "the hub refused `{hub}` (status {status}; {found}): the model is gated or private.\n  \
         1. Log in and accept the licence at {endpoint}/{repo}\n  \
         2. Make a token with read access at {endpoint}/settings/tokens\n  \
         3. Set HF_TOKEN to it, or run `hf auth login`; then try again"
    )
}

struct Near<'a>(&'a [String]);

impl fmt::Display for Near<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "; did you mean {}?", self.0.join(", ")) }
    }
}

struct Reasons<'a>(&'a [Failure]);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Failure { place, reason } in self.0 {
            write!(f, "\n- {place}: {}", reason.to_string().replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

struct Files<'a>(&'a [String], &'a Hub);

impl fmt::Display for Files<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => write!(
                f,
                " and no GGUF file; this is no language model in a format that can be read here (pickles never are)"
            ),
            [first, ..] => {
                write!(f, "; name one of its GGUF files, as in `{}:{first}`: {}", self.1.repo, self.0.join(", "))
            }
        }
    }
}
