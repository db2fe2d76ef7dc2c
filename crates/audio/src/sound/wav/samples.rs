//! Samples of WAV files. A-law and µ-law are those of ITU-T G.711.

use std::io::{Read, Seek};

use super::super::error::Problem;
use super::super::file::Source;
use super::super::mix::Mix;
use super::fmt::{Coding, Fmt};

/// Bytes that are read at once, if that is a sample of all channels.
const BLOCK: u64 = 64 << 10;

/// Reads so many samples of all channels, or as many as there are.
pub(super) fn read<R: Read + Seek>(
    file: &mut Source<R>,
    fmt: &Fmt,
    samples: u64,
    mix: &mut Mix,
) -> Result<(), Problem> {
    let align = u64::from(fmt.align);
    let most = BLOCK / align * align; // the alignment has 16 bits, so that this is not 0
    let mut left = samples * align;
    let mut block = Vec::new();
    while left > 0 {
        block.clear();
        file.reader.by_ref().take(left.min(most)).read_to_end(&mut block)?;
        block.truncate(block.len() / usize::from(fmt.align) * usize::from(fmt.align));
        if block.is_empty() {
            break; // the file has become shorter
        }
        left -= block.len() as u64;
        add(&block, fmt.coding, mix)?;
    }
    Ok(())
}

fn add(bytes: &[u8], coding: Coding, mix: &mut Mix) -> Result<(), Problem> {
    match coding {
        Coding::Pcm(1) => each(bytes, mix, |[a]| (f64::from(a) - 128.0) / 128.0),
        Coding::Pcm(2) => each(bytes, mix, |[a, b]| whole([0, 0, a, b])),
        Coding::Pcm(3) => each(bytes, mix, |[a, b, c]| whole([0, a, b, c])),
        Coding::Pcm(_) => each(bytes, mix, whole),
        Coding::Float => each(bytes, mix, |bytes| f32::from_le_bytes(bytes).into()),
        Coding::Double => each(bytes, mix, f64::from_le_bytes),
        Coding::ALaw => each(bytes, mix, |[a]| a_law(a)),
        Coding::MuLaw => each(bytes, mix, |[a]| mu_law(a)),
    }
}

fn each<const N: usize>(bytes: &[u8], mix: &mut Mix, value: impl Fn([u8; N]) -> f64) -> Result<(), Problem> {
    mix.extend(bytes.as_chunks::<N>().0.iter().map(|&bytes| value(bytes)))
}

/// A number of up to 32 bits, which is at the upper end.
fn whole(bytes: [u8; 4]) -> f64 {
    f64::from(i32::from_le_bytes(bytes)) / 2_147_483_648.0
}

/// A sign, 3 bits of segment, 4 of step; even bits are inverted. Of 13 bits (table 1a of G.711).
fn a_law(code: u8) -> f64 {
    let code = code ^ 0x55;
    let (segment, step) = (code >> 4 & 7, i32::from(code & 15));
    let size = match segment {
        0 => 2 * step + 1,
        _ => (2 * step + 33) << (segment - 1),
    };
    f64::from(if code & 0x80 == 0 { -size } else { size }) / 4096.0
}

/// A sign, 3 bits of segment, 4 of step, all inverted. Of 14 bits (table 2a of G.711).
fn mu_law(code: u8) -> f64 {
    let code = !code;
    let (segment, step) = (code >> 4 & 7, i32::from(code & 15));
    let size = ((2 * step + 33) << segment) - 33;
    f64::from(if code & 0x80 == 0 { size } else { -size }) / 8192.0
}
