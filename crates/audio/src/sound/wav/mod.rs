//! WAV files: RIFF/WAVE ("Multimedia Programming Interface and Data Specifications 1.0", IBM and Microsoft, 1991, chapter 3;
//! extensible formats as in Microsoft's "Multiple Channel Audio Data and WAVE Files"), RF64 (EBU Tech 3306) and BW64
//! (ITU-R BS.2088).
//!
//! What streams and aborted recordings leave is read too: a length of 0xFFFFFFFF, of 0 before samples, or beyond the end of
//! the file means all that is there.

mod fmt;
mod samples;

use std::io::{Read, Seek};

use super::Sound;
use super::error::Problem;
use super::file::Source;
use super::mix::Mix;
use fmt::Fmt;

/// Chunks that are looked at.
const CHUNKS: usize = 10_000;
/// A length that is not known, or stands elsewhere.
const UNKNOWN: u32 = u32::MAX;

/// Where the samples are.
#[derive(Clone, Copy)]
struct Data {
    start: u64,
    bytes: u64,
}

/// Reads a WAV file.
pub(super) fn read<R: Read + Seek>(file: &mut Source<R>, seconds: f64) -> Result<Sound, Problem> {
    let (fmt, data) = chunks(file)?;
    let mut mix = Mix::new(file.format, fmt.rate, fmt.channels.into(), seconds)?;
    let samples = data.bytes / u64::from(fmt.align); // what is left of one is dropped
    mix.check(samples)?;
    mix.reserve(samples);
    file.seek(data.start)?;
    samples::read(file, &fmt, samples, &mut mix)?;
    Ok(mix.sound())
}

/// Walks over the chunks until format and samples are found, in whichever order.
fn chunks<R: Read + Seek>(file: &mut Source<R>) -> Result<(Fmt, Data), Problem> {
    let [.., r0, r1, r2, r3, b'W', b'A', b'V', b'E'] = file.array::<12>("the header")? else {
        return Err(file.broken("it does not begin with RIFF and WAVE"));
    };
    let riff = u32::from_le_bytes([r0, r1, r2, r3]);
    let (mut fmt, mut data, mut long) = (None, None, None);
    for _ in 0..CHUNKS {
        if file.left() < 8 {
            return Err(missing(fmt.is_some(), format!("the file ends after {} bytes", file.len)));
        }
        let [name @ .., l0, l1, l2, l3] = file.array::<8>("a chunk")?;
        let claim = u32::from_le_bytes([l0, l1, l2, l3]);
        let (start, bytes) = (file.at, u64::from(claim));
        let mut next = start + bytes + bytes % 2; // chunks begin at even places
        match &name {
            b"ds64" if long.is_none() && bytes >= 24 => {
                let [_, _, _, _, _, _, _, _, size @ ..] = file.array::<16>("the chunk `ds64`")?;
                long = Some(u64::from_le_bytes(size));
            }
            b"fmt " if fmt.is_none() => fmt = Some(fmt::read(file, claim)?),
            b"data" if data.is_none() => {
                let bytes = samples_bytes(claim, long, riff, start).min(file.left());
                next = start + bytes + bytes % 2;
                data = Some(Data { start, bytes });
            }
            _ => {}
        }
        if let (Some(fmt), Some(data)) = (fmt, data) {
            return Ok((fmt, data));
        }
        if next > file.len && data.is_none() {
            let name = name.escape_ascii();
            let why = format!("the chunk `{name}` before it says {bytes} bytes, the file has {}", file.len - start);
            return Err(missing(fmt.is_some(), why));
        }
        file.seek(next)?;
    }
    Err(missing(fmt.is_some(), format!("it is not among the first {CHUNKS} chunks")))
}

/// Bytes of samples, of which the file may have fewer.
fn samples_bytes(claim: u32, long: Option<u64>, riff: u32, start: u64) -> u64 {
    // A RIFF chunk that ends where the samples begin was never finished.
    let unfinished = riff == UNKNOWN || u64::from(riff) + 8 <= start;
    match (claim, long) {
        (UNKNOWN, Some(0)) => u64::MAX,
        (UNKNOWN, Some(bytes)) => bytes,
        (UNKNOWN, None) => u64::MAX,
        (0, None) if unfinished => u64::MAX,
        _ => claim.into(),
    }
}

fn missing(fmt: bool, why: String) -> Problem {
    let chunk = if fmt { "data" } else { "fmt " };
    Problem::NoChunk { format: super::Format::Wav, chunk, why }
}
