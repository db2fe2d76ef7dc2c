//! What can be wrong with a picture file.

use std::fmt;
use std::io;

/// A file that is no picture for us.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct PictureError {
    /// The file.
    pub file: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file system.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A folder, a pipe.
    #[error("is no file")]
    NoFile,
    /// No byte.
    #[error("is empty")]
    Empty,
    /// Another kind of file.
    #[error("is no picture that can be read: found {found}, expected PNG, JPEG, WebP or GIF")]
    NoPicture {
        /// What it looks like, or its first bytes.
        found: String,
    },
    /// The file ends too early.
    #[error("{format} that is cut off: {what} is not all there, the file ends after {bytes} bytes")]
    CutOff {
        /// The format.
        format: Format,
        /// What is missing.
        what: &'static str,
        /// Length of the file.
        bytes: u64,
    },
    /// No pixels.
    #[error("{format} of {width}×{height} pixels: a picture has at least one")]
    NoPixels {
        /// The format.
        format: Format,
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
    },
    /// More pixels than allowed.
    #[error("{format} of {width}×{height} pixels: at most {limit} pixels are read; make it smaller first")]
    TooManyPixels {
        /// The format.
        format: Format,
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
        /// Pixels allowed.
        limit: u64,
    },
    /// More memory than allowed.
    #[error("{format} that takes {bytes} bytes of memory to decode: at most {limit} are allowed")]
    TooMuchMemory {
        /// The format.
        format: Format,
        /// Bytes needed.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A file that contradicts its format.
    #[error("broken {format}: {why}")]
    Broken {
        /// The format.
        format: Format,
        /// What is wrong.
        why: String,
    },
    /// A legal file of a kind that is not read.
    #[error("{format} of a kind that is not supported: {why}")]
    Unsupported {
        /// The format.
        format: Format,
        /// Which kind.
        why: String,
    },
}

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Portable Network Graphics, APNG included.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP, lossy and lossless.
    WebP,
    /// GIF.
    Gif,
}

impl Format {
    /// The format of a file that begins so.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
        })
    }
}

/// A word for a file of another kind, or its first bytes.
pub(super) fn looks_like(head: &[u8]) -> String {
    let known: [(&[u8], &str); 8] = [
        (b"BM", "BMP"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"%PDF", "PDF"),
        (b"<svg", "SVG"),
        (b"<?xml", "XML (SVG?)"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (b"\0\0\x01\0", "an icon file"),
    ];
    if let Some((_, name)) = known.iter().find(|(start, _)| head.starts_with(start)) {
        return (*name).to_owned();
    }
    if head.get(4..8) == Some(b"ftyp") {
        return "AVIF, HEIC or a video".to_owned();
    }
    let bytes: Vec<_> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("the first bytes {}", bytes.join(" "))
}
