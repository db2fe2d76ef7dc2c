//! A palette: the colours that codes stand for, and its file.

use serde::{Deserialize, Serialize};

use super::nearest::Nearest;

/// Most colours of a palette.
const MOST: usize = 1 << 16;

/// Colours in 8-bit sRGB. The code of a colour is the place of the nearest one by Euclidean distance, the first of several;
/// because colours are whole numbers, a picture that was decoded is encoded to the same codes again.
#[derive(Clone, Debug)]
pub struct Palette {
    colours: Vec<[u8; 3]>,
    nearest: Nearest,
    books: [u32; 1],
}

/// What is wrong with a palette, or with learning one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PaletteError {
    /// Not the file of a palette.
    #[error("{file} is no palette: {why}")]
    File {
        /// The file.
        file: String,
        /// Field, line and column.
        why: String,
    },
    /// Too few or too many colours.
    #[error("{found} colours, expected 1 to {MOST}")]
    Count {
        /// Colours.
        found: usize,
    },
    /// The pictures have fewer colours than wanted.
    #[error(
        "the pictures have {found} different colours, {wanted} are wanted; ask for at most {found}, or give more pictures"
    )]
    TooFew {
        /// Different colours.
        found: usize,
        /// Colours wanted.
        wanted: usize,
    },
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    colours: Vec<[u8; 3]>,
}

impl Palette {
    /// A palette of these colours; a code is a place among them.
    ///
    /// # Errors
    /// None, or more than 65536.
    pub fn new(colours: Vec<[u8; 3]>) -> Result<Self, PaletteError> {
        let found = colours.len();
        if !(1..=MOST).contains(&found) {
            return Err(PaletteError::Count { found });
        }
        let nearest = Nearest::new(colours.iter().map(|colour| colour.map(f32::from)).collect());
        Ok(Self { colours, nearest, books: [found as u32] })
    }

    /// Reads the file of a palette, `{"colours": [[red, green, blue], …]}`; `file` is for errors.
    ///
    /// # Errors
    /// Other JSON, and as [`new`](Self::new).
    pub fn from_json(file: &str, text: &str) -> Result<Self, PaletteError> {
        let wrong = |why: String| PaletteError::File { file: file.to_owned(), why };
        let stored: Stored = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        Self::new(stored.colours).map_err(|error| wrong(format!("`colours`: {error}")))
    }

    /// The file of a palette.
    #[must_use]
    pub fn to_json(&self) -> String {
        let colours: Vec<String> = self.colours.iter().map(|[r, g, b]| format!("  [{r}, {g}, {b}]")).collect();
        format!("{{\"colours\": [\n{}\n]}}\n", colours.join(",\n"))
    }

    /// The colours, in the order of their codes.
    #[must_use]
    pub fn colours(&self) -> &[[u8; 3]] {
        &self.colours
    }

    /// The code of the nearest colour.
    #[must_use]
    pub fn code(&self, colour: [u8; 3]) -> u32 {
        self.nearest.find(colour).0.into()
    }

    /// One book, of as many codes as there are colours.
    pub(super) fn books(&self) -> &[u32] {
        &self.books
    }
}
