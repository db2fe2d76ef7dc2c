//! What can be wrong with a sound file.

use std::fmt;
use std::io;

use super::RATES;

/// A file that is no sound for us.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct SoundError {
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
    #[error("is no WAV, FLAC, MP3 or OGG: found {found}")]
    NoSound {
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
    /// Fewer or more samples than the header promises.
    #[error(
        "{format} that is cut off or damaged: the header says {expected} samples a channel, {samples} could be decoded"
    )]
    Count {
        /// The format.
        format: Format,
        /// Samples in the header.
        expected: u64,
        /// Samples that came out.
        samples: u64,
    },
    /// A part without which nothing can be read.
    #[error("{format} without a chunk `{chunk}`: {why}")]
    NoChunk {
        /// The format.
        format: Format,
        /// Name of the chunk.
        chunk: &'static str,
        /// Where the search ended.
        why: String,
    },
    /// A rate that no sound has.
    #[error("{format} of {rate} samples a second: {} to {} can be read", RATES.start(), RATES.end())]
    Rate {
        /// The format.
        format: Format,
        /// Rate in the header.
        rate: u32,
    },
    /// No channel.
    #[error("{format} of 0 channels: a sound has at least one")]
    NoChannels {
        /// The format.
        format: Format,
    },
    /// Sizes in a header that contradict each other.
    #[error(
        "{format} whose block align is {align} bytes, but {channels} channels of {bits} bits take {expected}; \
         write the file anew with another program"
    )]
    Align {
        /// The format.
        format: Format,
        /// Bytes of one sample of all channels, in the header.
        align: u16,
        /// Channels.
        channels: u16,
        /// Bits of a sample.
        bits: u16,
        /// Bytes that follow from channels and bits.
        expected: u32,
    },
    /// Longer than allowed.
    #[error("{format} of {seconds} s or more: at most {limit} s are read; cut it first, or allow more seconds")]
    TooLong {
        /// The format.
        format: Format,
        /// Seconds that the header says, or that were decoded until the limit was passed.
        seconds: f64,
        /// Seconds allowed.
        limit: f64,
    },
    /// More samples than fit into memory.
    #[error(
        "{format} of {samples} samples a channel or more: at most {limit} are read; cut it, or lower its rate first"
    )]
    TooManySamples {
        /// The format.
        format: Format,
        /// Samples a channel.
        samples: u64,
        /// Samples allowed.
        limit: u64,
    },
    /// A sample that is no number.
    #[error("{format} whose sample {at} ({seconds:.3} s) is {value} in channel {channel}; repair the file first")]
    NotFinite {
        /// The format.
        format: Format,
        /// Number of the sample in its channel, from 0.
        at: u64,
        /// The same in seconds.
        seconds: f64,
        /// Channel, from 1.
        channel: usize,
        /// NaN or an infinity.
        value: f32,
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
    #[error("{format} of a kind that is not supported: {why}; convert it to 16-bit WAV first")]
    Unsupported {
        /// The format.
        format: Format,
        /// Which kind.
        why: String,
    },
    /// A rate asked for that no sound can have.
    #[error("cannot be resampled to {rate} samples a second: {} to {} are possible", RATES.start(), RATES.end())]
    TargetRate {
        /// Rate asked for.
        rate: u32,
    },
    /// Two rates whose ratio is no fraction of small numbers.
    #[error("cannot be resampled from {from} to {to} samples a second: their ratio {over}/{under} is too intricate")]
    Ratio {
        /// Rate of the sound.
        from: u32,
        /// Rate asked for.
        to: u32,
        /// `to`, reduced.
        over: u32,
        /// `from`, reduced.
        under: u32,
    },
    /// The resampler failed.
    #[error("cannot be resampled: {0}")]
    Resampler(String),
}

/// Why a sound cannot be written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A sample that is no number.
    #[error("sample {at} is {value}, which WAV cannot hold")]
    NotFinite {
        /// Number of the sample, from 0.
        at: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// A rate that could not be read again.
    #[error("a sound of {rate} samples a second: {} to {} can be written", RATES.start(), RATES.end())]
    Rate {
        /// The rate.
        rate: u32,
    },
    /// More than the format can hold.
    #[error("{samples} samples: WAV holds at most {limit}; cut the sound")]
    TooLong {
        /// Samples.
        samples: usize,
        /// Samples that fit.
        limit: usize,
    },
    /// The encoder failed.
    #[error("cannot write WAV: {0}")]
    Wav(String),
}

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// RIFF/WAVE, RF64 and BW64 included.
    Wav,
    /// Free Lossless Audio Codec.
    Flac,
    /// MPEG-1, 2 and 2.5, layer III.
    Mp3,
    /// Ogg, with Vorbis or FLAC inside.
    Ogg,
}

impl Format {
    /// The format of a file that begins so.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Self::Wav),
            [b'R', b'F', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Self::Wav),
            [b'B', b'W', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Self::Wav),
            [b'f', b'L', b'a', b'C', ..] => Some(Self::Flac),
            [b'O', b'g', b'g', b'S', ..] => Some(Self::Ogg),
            // The sync word, layer III, and neither of the values that mean "no bitrate" and "no rate".
            [0xff, b, c, ..] if b & 0xe6 == 0xe2 && c & 0xf0 != 0xf0 && c & 0x0c != 0x0c => Some(Self::Mp3),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wav => "WAV",
            Self::Flac => "FLAC",
            Self::Mp3 => "MP3",
            Self::Ogg => "OGG",
        })
    }
}
