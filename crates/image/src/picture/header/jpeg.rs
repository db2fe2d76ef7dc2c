//! JPEG (ITU-T T.81, annex B): markers, most with a length; after a scan's header come entropy-coded bytes.

use std::io::{BufRead, Seek};

use super::{Header, Problem, Source, area};

/// Scans of one picture; an encoder makes about ten. Each costs a pass over all blocks.
const SCANS: usize = 100;

pub(super) fn read<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Header, Problem> {
    source.skip(2, "the first marker")?;
    let mut frame = None;
    let mut exif = None;
    let mut scans = 0;
    loop {
        // Between segments anything up to the next marker is passed over, as other readers do.
        let marker = next_marker(source)?;
        match marker {
            0xd9 => break,
            0x01 | 0xd0..=0xd8 => continue, // no length
            _ => {}
        }
        let length = u64::from(u16::from_be_bytes(source.array("a segment")?));
        let Some(length) = length.checked_sub(2) else {
            return Err(source.broken(format!("a segment of {length} bytes (marker {marker:02x})")));
        };
        match marker {
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) && length >= 6 && frame.is_none() => {
                let [_, h0, h1, w0, w1, components] = source.array("the frame header")?;
                frame = Some((u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]), components));
                source.skip(length - 6, "the frame header")?;
            }
            0xe1 if exif.is_none() => {
                let segment = source.bytes(length, "a segment")?;
                exif = segment.strip_prefix(b"Exif\0\0").map(<[u8]>::to_vec);
            }
            0xda => {
                scans += 1;
                if scans > SCANS {
                    return Err(source.broken(format!("more than {SCANS} scans")));
                }
                source.skip(length, "a scan header")?;
            }
            _ => source.skip(length, "a segment")?,
        }
    }
    let Some((width, height, components)) = frame.filter(|_| scans > 0) else {
        return Err(source.broken("there is no picture in it"));
    };
    let (width, height) = (u32::from(width), u32::from(height));
    // The decoder holds the file, its output, and all coefficients (i16, in whole blocks) where a picture has several scans.
    let blocks = area(width.next_multiple_of(32), height.next_multiple_of(32), 2 * u64::from(components));
    let memory = area(width, height, 3).saturating_add(source.len).saturating_add(if scans > 1 { blocks } else { 0 });
    Ok(Header { format: source.format, width, height, memory, exif })
}

/// Passes over everything up to a marker, stuffed bytes and restart markers inside scans included.
fn next_marker<R: BufRead + Seek>(source: &mut Source<R>) -> Result<u8, Problem> {
    loop {
        let buffer = source.reader.fill_buf()?;
        if buffer.is_empty() {
            return Err(source.cut_off("the picture up to its end marker"));
        }
        let found = buffer.iter().position(|&byte| byte == 0xff);
        let passed = found.map_or(buffer.len(), |place| place + 1);
        source.reader.consume(passed);
        source.at += passed as u64;
        if found.is_some() {
            let mut code = 0xff;
            while code == 0xff {
                code = source.byte("the picture up to its end marker")?;
            }
            if code != 0 {
                return Ok(code);
            }
        }
    }
}
