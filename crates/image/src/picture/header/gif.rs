//! GIF 87a and 89a: a screen, then blocks; the walk ends behind the first picture.

use std::io::{BufRead, Seek};

use super::{Header, Problem, Source, area};

/// Bytes of a frame (four a pixel) that the decoder is willing to make.
const FRAME: u64 = 50_000_000;

pub(super) fn read<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Header, Problem> {
    source.skip(6, "the signature")?;
    let [w0, w1, h0, h1, flags, _, _] = source.array("the header")?;
    let (width, height) = (u16::from_le_bytes([w0, w1]).into(), u16::from_le_bytes([h0, h1]).into());
    source.skip(palette(flags), "the palette")?;
    loop {
        match source.byte("the first picture")? {
            0x21 => {
                source.skip(1, "an extension")?;
                sub_blocks(source, "an extension")?;
            }
            0x2c => break,
            0x3b => return Err(source.broken("there is no picture in it")),
            other => return Err(source.broken(format!("unknown block {other:02x}"))),
        }
    }
    let [_, _, _, _, w0, w1, h0, h1, flags] = source.array("the first picture")?;
    let frame = area(u16::from_le_bytes([w0, w1]).into(), u16::from_le_bytes([h0, h1]).into(), 4);
    if frame > FRAME {
        return Err(Problem::TooMuchMemory { format: source.format, bytes: frame, limit: FRAME });
    }
    source.skip(palette(flags) + 1, "the first picture")?;
    sub_blocks(source, "the first picture")?;
    let memory = area(width, height, 4).saturating_add(frame + frame / 4);
    Ok(Header { format: source.format, width, height, memory, exif: None })
}

/// Bytes of the palette that these flags announce.
fn palette(flags: u8) -> u64 {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Passes over blocks of data up to the empty one that ends them.
fn sub_blocks<R: BufRead + Seek>(source: &mut Source<R>, what: &'static str) -> Result<(), Problem> {
    loop {
        match source.byte(what)? {
            0 => return Ok(()),
            length => source.skip(length.into(), what)?,
        }
    }
}
