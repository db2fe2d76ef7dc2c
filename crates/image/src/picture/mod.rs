//! Pictures: PNG, JPEG, WebP and GIF files in, 8-bit sRGB out, PNG files out.
//!
//! The content of a file decides what it is, not its ending. What a file claims is checked by [`Limits`] of our own before
//! anything is decoded, and a file that breaks off is refused. Of an animation the first picture is taken. Colour profiles
//! and gamma are not applied: numbers are taken as sRGB.

mod decode;
mod edit;
mod error;
mod header;
mod jpeg;

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;

pub use edit::{EditError, Filter};
pub use error::{Format, PictureError, Problem};

/// A picture of 8-bit sRGB pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green, blue of each pixel, row after row: `3 · width · height` bytes.
    pub rgb: Vec<u8>,
}

/// How files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What shows through transparent pixels.
    pub background: [u8; 3],
    /// What a file may take.
    pub limits: Limits,
}

/// What a file may take; checked by its header, before it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pixels of the picture.
    pub pixels: u64,
    /// Bytes of memory while it is decoded, the picture included.
    pub memory: u64,
}

impl Default for Reading {
    fn default() -> Self {
        Self { background: [255; 3], limits: Limits::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { pixels: 64 << 20, memory: 1 << 30 }
    }
}

impl Picture {
    /// A picture of these pixels; `None` if there are not `3 · width · height` bytes, or none.
    #[must_use]
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Option<Self> {
        Some(Self { width, height, rgb }).filter(Self::is_sound)
    }

    /// A picture of one colour; `None` without pixels, or with more than a machine can count.
    #[must_use]
    pub fn filled(width: usize, height: usize, colour: [u8; 3]) -> Option<Self> {
        Self::new(width, height, colour.repeat(width.checked_mul(height)?))
    }

    /// Whether there are as many bytes as the sizes say, and any.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let bytes = self.width.checked_mul(self.height).and_then(|n| n.checked_mul(3));
        !self.rgb.is_empty() && bytes == Some(self.rgb.len())
    }

    /// The pixels, row after row.
    pub fn pixels(&self) -> impl ExactSizeIterator<Item = [u8; 3]> {
        self.rgb.as_chunks::<3>().0.iter().copied()
    }

    /// Reads a picture file, turned upright as its EXIF data says.
    ///
    /// # Errors
    /// [`PictureError`], with the path: not readable, no picture, beyond the limits, cut off, broken.
    pub fn open(path: &Path, reading: &Reading) -> Result<Self, PictureError> {
        let read = || {
            let file = File::open(path)?;
            if !file.metadata()?.is_file() {
                return Err(Problem::NoFile);
            }
            decode::picture(BufReader::with_capacity(64 << 10, file), reading)
        };
        read().map_err(|problem| PictureError { file: path.display().to_string(), problem })
    }

    /// Reads a picture file from memory; `name` is for errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn decode(name: &str, bytes: &[u8], reading: &Reading) -> Result<Self, PictureError> {
        let picture = decode::picture(Cursor::new(bytes), reading);
        picture.map_err(|problem| PictureError { file: name.to_owned(), problem })
    }

    /// The format of a file that begins with these bytes (12 are enough).
    #[must_use]
    pub fn format(head: &[u8]) -> Option<Format> {
        Format::of(head)
    }
}
