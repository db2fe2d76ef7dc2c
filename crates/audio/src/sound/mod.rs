//! Sound files, read within limits of ours, as one channel at one rate: WAV, FLAC, MP3 and Ogg Vorbis in, WAV out.
//!
//! The content of a file decides what it is, not its ending. Channels are mixed to their mean; levels are left as they are.
//! A WAV file that breaks off is taken as far as it goes, since recorders that were stopped leave such; a FLAC or Ogg file
//! that does is refused. Chapters, tags and loops are passed over.
//!
//! WAV files are read by a reader of our own: the crate `hound` refuses what is legal or common (lengths of a
//! stream, RF64, 64-bit floats, A-law and µ-law, 20 bits in 24), and its iterator yields an error for each sample that a
//! header claims. It writes our files, which it does well. The others are decoded by `symphonia`.

mod coded;
mod error;
mod file;
mod flac;
mod mix;
mod resample;
mod vorbis;
mod wav;
mod write;

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;

pub use error::{Format, Problem, SoundError, WriteError};

/// Rates that sound is read, resampled and written at, in samples a second.
pub const RATES: std::ops::RangeInclusive<u32> = 100..=768_000;

/// One channel of samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Samples a second.
    pub rate: u32,
    /// Samples, full scale is ±1.
    pub samples: Vec<f32>,
}

/// How files are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Samples a second that the sound is resampled to; `None` leaves it as it is.
    pub rate: Option<u32>,
    /// The longest sound that is read, in seconds; a longer one is an error.
    pub seconds: f64,
}

impl Default for Reading {
    fn default() -> Self {
        Self { rate: Some(16_000), seconds: 3600.0 }
    }
}

impl Sound {
    /// Reads a sound file. A file without samples is an empty sound.
    ///
    /// # Errors
    /// [`SoundError`], with the path: not readable, no sound, too long, broken, of a kind that is not supported.
    pub fn open(path: &Path, reading: &Reading) -> Result<Self, SoundError> {
        let read = || {
            let file = File::open(path)?;
            if !file.metadata()?.is_file() {
                return Err(Problem::NoFile);
            }
            read(BufReader::with_capacity(64 << 10, file), reading)
        };
        read().map_err(|problem| SoundError { file: path.display().to_string(), problem })
    }

    /// Reads a sound file from memory; `name` is for errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn decode(name: &str, bytes: &[u8], reading: &Reading) -> Result<Self, SoundError> {
        read(Cursor::new(bytes), reading).map_err(|problem| SoundError { file: name.to_owned(), problem })
    }

    /// The length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate.max(1))
    }

    /// The format of a file that begins with these bytes (12 are enough); `None` if it is no sound, or begins with a tag
    /// (ID3) that says nothing of what follows.
    #[must_use]
    pub fn format(head: &[u8]) -> Option<Format> {
        Format::of(head)
    }
}

fn read<R: Read + Seek + Send + Sync>(reader: R, reading: &Reading) -> Result<Sound, Problem> {
    if let Some(rate) = reading.rate.filter(|rate| !RATES.contains(rate)) {
        return Err(Problem::TargetRate { rate });
    }
    let mut file = file::Source::new(reader)?;
    let sound = match file.format {
        Format::Wav => wav::read(&mut file, reading.seconds)?,
        Format::Flac | Format::Mp3 | Format::Ogg => coded::read(&mut file, reading.seconds)?,
    };
    match reading.rate {
        Some(rate) => sound.resample(rate),
        None => Ok(sound),
    }
}
