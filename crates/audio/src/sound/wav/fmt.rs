//! The chunk `fmt `: how samples are stored. Numbers of formats are those of RFC 2361.

use std::io::{Read, Seek};

use super::super::error::Problem;
use super::super::file::Source;

/// How samples are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fmt {
    pub(super) coding: Coding,
    pub(super) channels: u16,
    pub(super) rate: u32,
    /// Bytes of one sample of all channels; not 0.
    pub(super) align: u16,
}

/// What the bytes of a sample mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Numbers in this many bytes, 1 to 4. Those of fewer bits are at the upper end.
    Pcm(u16),
    /// 32-bit numbers with a point.
    Float,
    /// 64-bit numbers with a point.
    Double,
    /// ITU-T G.711, A-law.
    ALaw,
    /// ITU-T G.711, µ-law.
    MuLaw,
}

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
const EXTENSIBLE: u16 = 0xfffe;
/// What follows the number of the format in the GUID of an extensible one.
const GUID: [u8; 14] = *b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71";

/// Reads the chunk, of which `bytes` are claimed, as far as it is needed.
pub(super) fn read<R: Read + Seek>(file: &mut Source<R>, bytes: u32) -> Result<Fmt, Problem> {
    if bytes < 16 {
        return Err(file.broken(format!("the chunk `fmt ` has {bytes} bytes, expected at least 16")));
    }
    let [t0, t1, c0, c1, r0, r1, r2, r3, _, _, _, _, a0, a1, b0, b1] = file.array::<16>("the chunk `fmt `")?;
    let word = |low, high| u16::from_le_bytes([low, high]);
    let (mut tag, channels, align, bits) = (word(t0, t1), word(c0, c1), word(a0, a1), word(b0, b1));
    let rate = u32::from_le_bytes([r0, r1, r2, r3]);
    if tag == EXTENSIBLE {
        if bytes < 40 {
            return Err(file.broken(format!("the chunk `fmt ` has {bytes} bytes, an extensible one has 40")));
        }
        // Its length, bits that count (those below are zero), and speakers; then the format.
        let [_, _, _, _, _, _, _, _, t0, t1, guid @ ..] = file.array::<24>("the chunk `fmt `")?;
        if guid != GUID {
            return Err(
                file.unsupported(format!("samples of the unknown format {:02x?}", [&[t0, t1], &guid[..]].concat()))
            );
        }
        tag = word(t0, t1);
    }
    let coding = match (tag, bits) {
        (PCM, 1..=32) => Coding::Pcm(bits.div_ceil(8)),
        (PCM, _) => return Err(file.broken(format!("whole numbers of {bits} bits, expected 1 to 32"))),
        (FLOAT, 32) => Coding::Float,
        (FLOAT, 64) => Coding::Double,
        (FLOAT, _) => return Err(file.unsupported(format!("floats of {bits} bits, expected 32 or 64"))),
        (A_LAW, 8) => Coding::ALaw,
        (MU_LAW, 8) => Coding::MuLaw,
        (A_LAW | MU_LAW, _) => return Err(file.broken(format!("A-law or µ-law of {bits} bits, expected 8"))),
        _ => return Err(file.unsupported(format!("samples of {}", name(tag)))),
    };
    let format = file.format;
    if channels == 0 {
        return Err(Problem::NoChannels { format });
    }
    let expected = u32::from(channels) * u32::from(bits.div_ceil(8));
    if u32::from(align) != expected {
        return Err(Problem::Align { format, align, channels, bits, expected });
    }
    Ok(Fmt { coding, channels, rate, align })
}

fn name(tag: u16) -> String {
    let name = match tag {
        0x02 => "Microsoft ADPCM",
        0x11 => "IMA ADPCM",
        0x31 => "GSM 6.10",
        0x50 => "MPEG",
        0x55 => "MP3",
        0xff | 0x1610 => "AAC",
        _ => return format!("the format {tag:#06x}"),
    };
    name.to_owned()
}
