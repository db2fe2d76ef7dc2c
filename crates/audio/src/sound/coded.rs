//! FLAC, MP3 and Ogg files, decoded by `symphonia`, whose panics become errors.

use std::io::{Cursor, ErrorKind, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use symphonia::default::formats::{FlacReader, MpaReader, OggReader};
use symphonia::default::get_codecs;

use super::error::{Format, Problem};
use super::file::Source;
use super::mix::Mix;
use super::{Sound, flac, vorbis};

/// Most numbers that Vorbis codebooks are unpacked to: 32 MiB of them, far more than encoders use.
const BOOKS: u64 = 8 << 20;

/// Reads a FLAC, MP3 or Ogg file.
pub(super) fn read<R: Read + Seek + Send + Sync>(file: &mut Source<R>, seconds: f64) -> Result<Sound, Problem> {
    let Source { format, len, .. } = *file;
    let (mut start, mut expected) = (Vec::new(), 0);
    if format == Format::Flac {
        let header = flac::header(file)?;
        let mix = Mix::new(format, header.rate, header.channels, seconds)?;
        mix.check(header.samples)?;
        if file.left() == 0 && header.samples == 0 {
            return Ok(mix.sound());
        }
        (start, expected) = (header.bytes, header.samples);
    }
    let source = Box::new(ReadOnlySource::new(Cursor::new(start).chain(&mut file.reader)));
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let stream = MediaSourceStream::new(source, Default::default());
        let mut reader = open(format, stream).map_err(|error| problem(format, len, error, "the header"))?;
        decode(format, len, reader.as_mut(), seconds)
    }));
    let mix = decoded.unwrap_or_else(|_| Err(broken(format, "the decoder gave up")))?;
    if expected > 0 && expected != mix.len() {
        return Err(Problem::Count { format, expected, samples: mix.len() });
    }
    Ok(mix.sound())
}

fn open(format: Format, stream: MediaSourceStream<'_>) -> Result<Box<dyn FormatReader + '_>, Error> {
    let options = FormatOptions::default();
    Ok(match format {
        Format::Flac => Box::new(FlacReader::try_new(stream, options)?),
        Format::Ogg => Box::new(OggReader::try_new(stream, options)?),
        _ => Box::new(MpaReader::try_new(stream, options)?),
    })
}

fn decode(format: Format, len: u64, reader: &mut dyn FormatReader, seconds: f64) -> Result<Mix, Problem> {
    let (track, mut decoder) = decoder(format, len, reader)?;
    let mut mix: Option<Mix> = None;
    let mut interleaved = Vec::<f32>::new();
    loop {
        let packet = match reader.next_packet() {
            Ok(Some(packet)) if packet.track_id == track => packet,
            Ok(Some(_)) => continue,
            Ok(None) => break,
            Err(error) => return Err(problem(format, len, error, "the sound")),
        };
        let buffer = match decoder.decode(&packet) {
            Ok(buffer) => buffer,
            // The first frames of a piece cut out of an MP3 refer to what was before it.
            Err(Error::DecodeError(_) | Error::IoError(_)) if format == Format::Mp3 && mix.is_none() => continue,
            Err(error) => {
                let after = mix.as_ref().map_or(0, Mix::len);
                return Err(broken(format, format!("after sample {after}: {error}")));
            }
        };
        let (rate, channels) = (buffer.spec().rate(), buffer.spec().channels().count());
        let mix = match &mut mix {
            Some(mix) if mix.is_of(rate, channels) => mix,
            Some(mix) => {
                let why = format!("{channels} channels of {rate} samples a second come after sample {}", mix.len());
                return Err(Problem::Unsupported { format, why });
            }
            none => none.insert(Mix::new(format, rate, channels, seconds)?),
        };
        buffer.copy_to_vec_interleaved(&mut interleaved);
        mix.extend(interleaved.iter().map(|&sample| f64::from(sample)))?;
    }
    match mix {
        Some(mix) => Ok(mix),
        // Nothing to play is an empty sound, but only in a format whose header could be checked.
        None if format != Format::Mp3 => {
            let params = decoder.codec_params();
            let channels = params.channels.as_ref().map_or(1, |channels| channels.count());
            Mix::new(format, params.sample_rate.unwrap_or(0), channels, seconds)
        }
        None => Err(broken(format, "no frame of it can be decoded")),
    }
}

fn decoder(format: Format, len: u64, reader: &dyn FormatReader) -> Result<(u32, Box<dyn AudioDecoder>), Problem> {
    let unsupported = |why: &str| Problem::Unsupported { format, why: why.to_owned() };
    let track = reader.default_track(TrackType::Audio).ok_or_else(|| unsupported("it has no stream of sound"))?;
    let params = track.codec_params.as_ref().and_then(|params| params.audio());
    let params = params.ok_or_else(|| unsupported("it says too little of its sound"))?;
    // Not every codec has books, but what looks like one is none by chance.
    let books = params.extra_data.as_deref().filter(|_| format == Format::Ogg).map_or(0, vorbis::numbers);
    if books > BOOKS {
        return Err(broken(format, format!("its codebooks unpack to {books} numbers, at most {BOOKS} are read")));
    }
    match get_codecs().make_audio_decoder(params, &AudioDecoderOptions::default()) {
        Ok(decoder) => Ok((track.id, decoder)),
        Err(Error::Unsupported(_)) if format == Format::Ogg => {
            Err(unsupported("Vorbis and FLAC are read, this is another codec (Opus?)"))
        }
        Err(error) => Err(problem(format, len, error, "the header")),
    }
}

fn problem(format: Format, len: u64, error: Error, what: &'static str) -> Problem {
    match error {
        Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof && format == Format::Mp3 => {
            broken(format, "no frame of it can be found")
        }
        Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Problem::CutOff { format, what, bytes: len }
        }
        // A decoder's errors are of this kind too, but have no number from the system.
        Error::IoError(error) if error.raw_os_error().is_some() => Problem::Io(error),
        Error::Unsupported(why) => Problem::Unsupported { format, why: why.to_owned() },
        Error::ResetRequired => {
            Problem::Unsupported { format, why: "a second stream begins in the file; take them apart".to_owned() }
        }
        error => broken(format, error.to_string()),
    }
}

fn broken(format: Format, why: impl Into<String>) -> Problem {
    Problem::Broken { format, why: why.into() }
}
