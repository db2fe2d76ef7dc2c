//! A sound file as bytes: what it is, how long it is, and where a reader stands in it.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use super::error::{Format, Problem};

/// Tags at the front that are passed over, one after the other.
const TAGS: usize = 16;

/// A file that knows where it ends.
pub(super) struct Source<R> {
    pub(super) reader: R,
    pub(super) format: Format,
    /// Bytes before the reader.
    pub(super) at: u64,
    pub(super) len: u64,
}

impl<R: Read + Seek> Source<R> {
    /// The file, at the first byte of its format, which is after tags of the kind ID3v2.
    pub(super) fn new(mut reader: R) -> Result<Self, Problem> {
        let len = reader.seek(SeekFrom::End(0))?;
        reader.rewind()?;
        let mut source = Self { reader, format: Format::Mp3, at: 0, len };
        if len == 0 {
            return Err(Problem::Empty);
        }
        for tags in 0..=TAGS {
            let start = source.at;
            let head = source.head()?;
            let tag = tag_bytes(&head).filter(|_| tags < TAGS);
            source.seek(start.saturating_add(tag.unwrap_or(0)))?;
            if tag.is_none() {
                // Tags stand before MP3 frames, which may be preceded by anything.
                let tagged = (tags > 0).then_some(Format::Mp3);
                source.format =
                    Format::of(&head).or(tagged).ok_or_else(|| Problem::NoSound { found: looks_like(&head) })?;
                break;
            }
        }
        Ok(source)
    }

    fn head(&mut self) -> Result<Vec<u8>, Problem> {
        let mut head = Vec::new();
        self.reader.by_ref().take(16).read_to_end(&mut head)?;
        Ok(head)
    }

    pub(super) fn left(&self) -> u64 {
        self.len.saturating_sub(self.at)
    }

    /// Goes to this byte, or to the end.
    pub(super) fn seek(&mut self, to: u64) -> Result<(), Problem> {
        self.at = to.min(self.len);
        self.reader.seek(SeekFrom::Start(self.at))?;
        Ok(())
    }

    /// The next bytes; `what` says in errors what they belong to.
    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Problem> {
        let mut bytes = [0; N];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => self.at += N as u64,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(self.cut_off(what)),
            Err(error) => return Err(error.into()),
        }
        Ok(bytes)
    }

    pub(super) fn cut_off(&self, what: &'static str) -> Problem {
        Problem::CutOff { format: self.format, what, bytes: self.len }
    }

    pub(super) fn broken(&self, why: impl Into<String>) -> Problem {
        Problem::Broken { format: self.format, why: why.into() }
    }

    pub(super) fn unsupported(&self, why: impl Into<String>) -> Problem {
        Problem::Unsupported { format: self.format, why: why.into() }
    }
}

/// Bytes of the ID3v2 tag that begins here (ID3v2.4, section 3.1: seven bits a byte, header and footer not counted).
fn tag_bytes(head: &[u8]) -> Option<u64> {
    let [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] = *head else { return None };
    let size = [a, b, c, d].iter().fold(0, |size, &byte| size << 7 | u64::from(byte & 0x7f));
    Some(size + if flags & 0x10 == 0 { 10 } else { 20 })
}

/// A word for a file of another kind, or its first bytes.
fn looks_like(head: &[u8]) -> String {
    let known: [(&[u8], &str); 18] = [
        (b"\x89PNG", "PNG, a picture"),
        (b"\xff\xd8\xff", "JPEG, a picture"),
        (b"GIF8", "GIF, a picture"),
        (b"BM", "BMP, a picture"),
        (b"RIFX", "RIFX, a WAV with its bytes in the other order; convert it"),
        (b"FORM", "AIFF; convert it"),
        (b".snd", "AU; convert it"),
        (b"caff", "CAF; convert it"),
        (b"wvpk", "WavPack; convert it"),
        (b"MAC ", "Monkey's Audio; convert it"),
        (b"#!AMR", "AMR; convert it"),
        (b"MThd", "MIDI, which is notes and no sound"),
        (b"\x1aE\xdf\xa3", "Matroska or WebM; convert it"),
        (b"\x30\x26\xb2\x75", "WMA; convert it"),
        (b"riff", "Wave64; convert it"),
        (b"%PDF", "PDF"),
        (b"PK\x03\x04", "ZIP"),
        (b"\x1f\x8b", "gzip; unpack it"),
    ];
    if let Some((_, name)) = known.iter().find(|(start, _)| head.starts_with(start)) {
        return (*name).to_owned();
    }
    match head {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "WebP, a picture".to_owned(),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => "AVI, a video".to_owned(),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "MP4, M4A or a picture of that family; convert it".to_owned(),
        [0xff, b, ..] if b & 0xf6 == 0xf0 => "AAC; convert it".to_owned(),
        [0xff, b, ..] if matches!(b & 0xe6, 0xe4 | 0xe6) => "MPEG audio of layer I or II; convert it".to_owned(),
        _ => {
            let bytes: Vec<_> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("the first bytes {}", bytes.join(" "))
        }
    }
}
