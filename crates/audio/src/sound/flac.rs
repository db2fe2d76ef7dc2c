//! The header of FLAC files (RFC 9639, section 8), without its tags and pictures, which a decoder would keep in memory.

use std::io::{Read, Seek};

use super::error::Problem;
use super::file::Source;

/// Blocks of metadata that are passed over.
const BLOCKS: usize = 4096;

/// What a file claims.
pub(super) struct Header {
    /// Samples a second.
    pub(super) rate: u32,
    /// Channels, 1 to 8.
    pub(super) channels: usize,
    /// Samples a channel, 0 if the writer did not know.
    pub(super) samples: u64,
    /// The shortest header that says the same: to be followed by the frames.
    pub(super) bytes: Vec<u8>,
}

/// Reads the header; the file is at its first frame then.
pub(super) fn header<R: Read + Seek>(file: &mut Source<R>) -> Result<Header, Problem> {
    let [b'f', b'L', b'a', b'C', kind, 0, 0, 34] = file.array::<8>("the header")? else {
        return Err(file.broken("the first block is no stream info of 34 bytes"));
    };
    if kind & 0x7f != 0 {
        return Err(file.broken(format!("the first block is of type {}, expected 0, the stream info", kind & 0x7f)));
    }
    let info = file.array::<34>("the stream info")?;
    let mut last = kind & 0x80 != 0;
    for _ in 0..BLOCKS {
        if last {
            break;
        }
        let [kind, a, b, c] = file.array::<4>("a block of metadata")?;
        let bytes = u64::from(u32::from_be_bytes([0, a, b, c]));
        if bytes > file.left() {
            return Err(file.cut_off("a block of metadata"));
        }
        file.seek(file.at + bytes)?;
        last = kind & 0x80 != 0;
    }
    if !last {
        return Err(file.broken(format!("more than {BLOCKS} blocks of metadata")));
    }
    // Block sizes and frame sizes take 10 bytes; then 20 bits of rate, 3 of channels - 1, 5 of bits - 1, 36 of length.
    let [_, _, _, _, _, _, _, _, _, _, a, b, c, d, e, f, g, h, ..] = info;
    let fields = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let bytes = [b"fLaC\x80\0\0\x22".as_slice(), &info].concat();
    let (rate, channels) = ((fields >> 44) as u32, (fields >> 41) as usize & 7);
    Ok(Header { rate, channels: channels + 1, samples: fields & ((1 << 36) - 1), bytes })
}
