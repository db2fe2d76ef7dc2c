//! WebP (RFC 9649): a RIFF file of chunks; sizes stand in the first one.

use std::io::{BufRead, Seek};

use super::{EXIF, Header, Problem, Source, area};

pub(super) fn read<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Header, Problem> {
    source.skip(12, "the header")?;
    let mut size = None;
    let mut exif = None;
    let mut pixels = false;
    while source.left() >= 8 || size.is_none() {
        let [kind @ .., l0, l1, l2, l3] = source.array::<8>("a chunk")?;
        let length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
        let after = source.at + length;
        match &kind {
            b"VP8X" | b"VP8L" | b"VP8 " if size.is_none() => size = Some(sizes(&kind, source)?),
            b"EXIF" if length <= EXIF && length <= source.left() => {
                let chunk = source.bytes(length, "the EXIF data")?;
                exif = Some(chunk.strip_prefix(b"Exif\0\0").map(<[u8]>::to_vec).unwrap_or(chunk));
            }
            _ if size.is_none() => return Err(source.broken("the first chunk has no sizes")),
            _ => {}
        }
        if after > source.len && !pixels {
            return Err(source.cut_off("the picture"));
        }
        pixels |= matches!(&kind, b"VP8L" | b"VP8 " | b"ANMF");
        // Chunks have an even length; the last byte may be missing.
        let next = (after + length % 2).min(source.len);
        let Some(rest) = next.checked_sub(source.at) else {
            return Err(source.broken(format!("a chunk of {length} bytes")));
        };
        source.skip(rest, "a chunk")?;
    }
    if !pixels {
        return Err(source.cut_off("the picture"));
    }
    let (width, height) = size.unwrap_or_default();
    // Output, the decoder's own RGBA, and for animations a canvas.
    let memory = area(width, height, 12);
    Ok(Header { format: source.format, width, height, memory, exif })
}

fn sizes<R: BufRead + Seek>(kind: &[u8; 4], source: &mut Source<R>) -> Result<(u32, u32), Problem> {
    const WHAT: &str = "the header";
    Ok(match kind {
        b"VP8X" => {
            let [_, _, _, _, w0, w1, w2, h0, h1, h2] = source.array(WHAT)?;
            (1 + u32::from_le_bytes([w0, w1, w2, 0]), 1 + u32::from_le_bytes([h0, h1, h2, 0]))
        }
        b"VP8L" => {
            let [_, bits @ ..] = source.array::<5>(WHAT)?;
            let bits = u32::from_le_bytes(bits);
            (1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff))
        }
        _ => {
            let [_, _, _, _, _, _, w0, w1, h0, h1] = source.array(WHAT)?;
            let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            (side(w0, w1), side(h0, h1))
        }
    })
}
