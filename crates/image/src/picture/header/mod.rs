//! What a file claims, read before it is decoded: sizes, orientation, and whether it is all there.
//!
//! A walk over chunks, segments or blocks that keeps a few bytes at a time. It is no validation: the decoder does that.

mod gif;
mod jpeg;
mod png;
mod webp;

use std::io::{BufRead, ErrorKind, Read, Seek, SeekFrom};

use super::error::{Format, Problem, looks_like};

/// What a file claims.
#[derive(Debug)]
pub(super) struct Header {
    /// The format.
    pub(super) format: Format,
    /// Pixels of a row, as stored.
    pub(super) width: u32,
    /// Rows, as stored.
    pub(super) height: u32,
    /// Bytes that the decoder takes at most, its output included.
    pub(super) memory: u64,
    /// EXIF data, from its TIFF header on.
    pub(super) exif: Option<Vec<u8>>,
}

/// Longest EXIF data that is looked at; JPEG cannot have more.
const EXIF: u64 = 64 << 10;

/// Reads what a file claims. The reader is left anywhere.
pub(super) fn read<R: BufRead + Seek>(reader: R) -> Result<Header, Problem> {
    let mut source = Source::new(reader)?;
    let mut head = Vec::new();
    source.reader.by_ref().take(16).read_to_end(&mut head)?;
    if head.is_empty() {
        return Err(Problem::Empty);
    }
    source.format = Format::of(&head).ok_or_else(|| Problem::NoPicture { found: looks_like(&head) })?;
    source.reader.rewind()?;
    let header = match source.format {
        Format::Png => png::read(&mut source)?,
        Format::Jpeg => jpeg::read(&mut source)?,
        Format::WebP => webp::read(&mut source)?,
        Format::Gif => gif::read(&mut source)?,
    };
    if header.width == 0 || header.height == 0 {
        return Err(Problem::NoPixels { format: header.format, width: header.width, height: header.height });
    }
    Ok(header)
}

/// A file, read from front to back, that knows where it ends.
struct Source<R> {
    reader: R,
    format: Format,
    at: u64,
    len: u64,
}

impl<R: BufRead + Seek> Source<R> {
    fn new(mut reader: R) -> Result<Self, Problem> {
        let len = reader.seek(SeekFrom::End(0))?;
        reader.rewind()?;
        Ok(Self { reader, format: Format::Png, at: 0, len })
    }

    fn left(&self) -> u64 {
        self.len.saturating_sub(self.at)
    }

    /// The next bytes; `what` says in errors what they belong to.
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Problem> {
        let mut bytes = [0; N];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => self.at += N as u64,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(self.cut_off(what)),
            Err(error) => return Err(error.into()),
        }
        Ok(bytes)
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, Problem> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// The next `count` bytes, none of which is read if they are not all there.
    fn bytes(&mut self, count: u64, what: &'static str) -> Result<Vec<u8>, Problem> {
        if count > self.left() {
            return Err(self.cut_off(what));
        }
        let mut bytes = Vec::new();
        self.reader.by_ref().take(count).read_to_end(&mut bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes)
    }

    fn skip(&mut self, count: u64, what: &'static str) -> Result<(), Problem> {
        if count > self.left() {
            return Err(self.cut_off(what));
        }
        self.reader.seek_relative(count.try_into().map_err(|_| self.cut_off(what))?)?;
        self.at += count;
        Ok(())
    }

    fn cut_off(&self, what: &'static str) -> Problem {
        Problem::CutOff { format: self.format, what, bytes: self.len }
    }

    fn broken(&self, why: impl Into<String>) -> Problem {
        Problem::Broken { format: self.format, why: why.into() }
    }
}

/// `width · height · bytes`, or the largest number there is.
fn area(width: u32, height: u32, bytes: u64) -> u64 {
    u64::from(width).saturating_mul(u64::from(height)).saturating_mul(bytes)
}
