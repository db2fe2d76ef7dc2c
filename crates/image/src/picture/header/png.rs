//! PNG (W3C, third edition): a signature, then chunks of length, type, data and checksum.

use std::io::{BufRead, Seek};

use super::{EXIF, Header, Problem, Source, area};

/// Deflate makes at most 258 bytes of 2 bits.
const DEFLATE: u64 = 1032;

pub(super) fn read<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Header, Problem> {
    source.skip(8, "the signature")?;
    let [.., b'I', b'H', b'D', b'R'] = source.array::<8>("the header")? else {
        return Err(source.broken("the first chunk is not IHDR"));
    };
    let [w0, w1, w2, w3, h0, h1, h2, h3, depth, colour, ..] = source.array::<17>("the header")?; // with its checksum
    let (width, height) = (u32::from_be_bytes([w0, w1, w2, w3]), u32::from_be_bytes([h0, h1, h2, h3]));
    // Samples in the file, and most samples that a pixel is decoded to (tRNS adds one).
    let (stored, decoded) = match colour {
        0 => (1, 2),
        2 => (3, 4),
        3 => (1, 4),
        4 => (2, 2),
        6 => (4, 4),
        other => return Err(source.broken(format!("colour type {other}"))),
    };
    let mut data = 0u64;
    let mut exif = None;
    while source.left() > 0 {
        // What comes after the pixels and is cut off is no loss.
        let Ok([l0, l1, l2, l3, kind @ ..]) = source.array::<8>("a chunk") else { break };
        let length = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
        match &kind {
            b"IEND" => break,
            b"IDAT" => {
                source.skip(length, "the pixel data")?;
                data += length;
            }
            _ if length > source.left() && data > 0 => break,
            b"eXIf" if length <= EXIF => exif = Some(source.bytes(length, "the EXIF data")?),
            _ => source.skip(length, "a chunk before the pixel data")?,
        }
        if source.skip(4, "a checksum").is_err() {
            break;
        }
    }
    let row = (u64::from(width) * stored * u64::from(depth)).div_ceil(8) + 1;
    if data.saturating_add(1).saturating_mul(DEFLATE) < row.saturating_mul(u64::from(height)) {
        return Err(source.broken(format!("{data} bytes of pixel data for {width}×{height} pixels")));
    }
    let memory = area(width, height, decoded * if depth > 8 { 2 } else { 1 }).saturating_add(4 * row);
    Ok(Header { format: source.format, width, height, memory, exif })
}
