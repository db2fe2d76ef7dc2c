//! The directory of a ZIP archive: where the bytes of each entry lie.
//!
//! Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.6–4.3.16 (records) and 4.5.3 (the ZIP64 field). Of it, archives of one
//! file whose entries are stored: nothing is expanded, so no entry can become larger than the file. Entries must lie before
//! the directory, one after another, and have names that stay below one folder.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cursor::Cursor;

/// Most entries of an archive.
const MOST: u64 = 1 << 18;

/// Bytes of the records, without names, fields and comments.
const END: usize = 22;
const END64: usize = 56;
const LOCATOR: usize = 20;
const IN_DIRECTORY: u64 = 46;

/// Where the directory is.
struct Directory {
    entries: u64,
    offset: u64,
    size: u64,
}

/// Entries by name; folders are left out.
pub(super) fn entries(bytes: &[u8]) -> Result<BTreeMap<&str, Range<usize>>, String> {
    let Directory { entries, offset, size } = directory(bytes)?;
    let start = offset as usize;
    let mut cursor = Cursor::new(&bytes[start..start + size as usize]);
    let (mut found, mut taken) = (BTreeMap::new(), Vec::new());
    for index in 0..entries {
        let Entry { name, record, data } =
            entry(&mut cursor, &bytes[..start]).map_err(|problem| format!("entry {index}: {problem}"))?;
        taken.push((record, data.end, name));
        if !name.ends_with('/') && found.insert(name, data).is_some() {
            return Err(format!("entry `{name}` is there twice"));
        }
    }
    if cursor.left() > 0 {
        return Err(format!("{} bytes follow the {entries} entries of the directory", cursor.left()));
    }
    taken.sort_unstable();
    match taken.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        Some(pair) => Err(format!("entries `{}` and `{}` overlap", pair[0].2, pair[1].2)),
        None => Ok(found),
    }
}

/// Finds the directory by the record at the end.
fn directory(bytes: &[u8]) -> Result<Directory, String> {
    let Some(last) = bytes.len().checked_sub(END) else {
        return Err(format!("{} bytes are too few for a ZIP archive", bytes.len()));
    };
    let first = last.saturating_sub(usize::from(u16::MAX));
    let is_end = |&at: &usize| {
        let comment = u16::from_le_bytes([bytes[at + END - 2], bytes[at + END - 1]]);
        bytes[at..].starts_with(b"PK\x05\x06") && at + END + usize::from(comment) == bytes.len()
    };
    let Some(end) = (first..=last).rev().find(is_end) else {
        return Err("is not a whole ZIP archive, as torch.save has written since 1.6: no directory at its end".into());
    };
    let mut record = Cursor::new(&bytes[end + 4..]);
    let disks = [record.u16()?, record.u16()?];
    let counts = [record.u16()?, record.u16()?].map(u64::from);
    let mut directory = Directory { entries: counts[1], size: record.u32()?.into(), offset: record.u32()?.into() };
    let mut ends = end;
    let mut parts = disks != [0, 0] || counts[0] != counts[1];
    if let Some(locator) = end.checked_sub(LOCATOR).filter(|&at| bytes[at..].starts_with(b"PK\x06\x07")) {
        let mut record = Cursor::new(&bytes[locator + 4..end]);
        let (disk, at) = (record.u32()?, record.u64()?);
        ends = usize::try_from(at).unwrap_or(usize::MAX);
        if ends > locator.saturating_sub(END64) || !bytes[ends..].starts_with(b"PK\x06\x06") {
            return Err(format!("no ZIP64 record at byte {at}, where the end says it is"));
        }
        let mut record = Cursor::new(&bytes[ends + 16..]);
        let disks = [disk, record.u32()?, record.u32()?];
        let counts = [record.u64()?, record.u64()?];
        directory = Directory { entries: counts[1], size: record.u64()?, offset: record.u64()? };
        parts = disks != [0; 3] || counts[0] != counts[1];
    }
    let Directory { entries, offset, size } = directory;
    if parts {
        return Err("is one part of a ZIP archive in several files".into());
    }
    if offset.checked_add(size) != Some(ends as u64) {
        return Err(format!("the directory claims {size} bytes from {offset} on, its end is at {ends}"));
    }
    if entries > MOST || entries > size / IN_DIRECTORY {
        return Err(format!("the directory of {size} bytes claims {entries} entries (at most {MOST} are read)"));
    }
    Ok(directory)
}

/// One entry: its name, where the record in front of it begins, where its data lies.
struct Entry<'a> {
    name: &'a str,
    record: usize,
    data: Range<usize>,
}

/// Reads an entry of the directory, and checks the record before its data.
fn entry<'a>(cursor: &mut Cursor<'a>, before: &'a [u8]) -> Result<Entry<'a>, String> {
    let signature = cursor.array::<4>()?;
    if signature != *b"PK\x01\x02" {
        return Err(format!("begins with {signature:?}, which is no entry of a directory"));
    }
    cursor.take(4)?;
    let (flags, method) = (cursor.u16()?, cursor.u16()?);
    cursor.take(8)?;
    let [packed, size] = [cursor.u32()?, cursor.u32()?];
    let lengths = [cursor.u16()?, cursor.u16()?, cursor.u16()?].map(u64::from);
    let disk = cursor.u16()?;
    cursor.take(6)?;
    let offset = cursor.u32()?;
    let name = name(cursor.take(lengths[0])?)?;
    let fields = cursor.take(lengths[1])?;
    cursor.take(lengths[2])?;
    let [size, packed, offset] = wide(fields, [size, packed, offset]).map_err(|e| format!("`{name}`: {e}"))?;
    if flags & 1 != 0 || method != 0 || size != packed || disk != 0 {
        return Err(format!(
            "`{name}` is compressed or encrypted ({packed} bytes for {size}); only stored ones are read"
        ));
    }
    let Some(rest) = usize::try_from(offset).ok().and_then(|offset| before.get(offset..)) else {
        return Err(format!("`{name}` is at byte {offset}, the directory at {}", before.len()));
    };
    let length = local(rest, name).map_err(|e| format!("`{name}` at byte {offset}: {e}"))?;
    let left = (rest.len() - length) as u64;
    if size > left {
        return Err(format!("`{name}` claims {size} bytes, {left} are left for it"));
    }
    let record = before.len() - rest.len();
    let start = record + length;
    Ok(Entry { name, record, data: start..start + size as usize })
}

/// Length of the record in front of an entry's data.
fn local(bytes: &[u8], name: &str) -> Result<usize, String> {
    let mut cursor = Cursor::new(bytes);
    if cursor.array()? != *b"PK\x03\x04" {
        return Err("no record of an entry".into());
    }
    cursor.take(4)?;
    let method = cursor.u16()?;
    cursor.take(16)?;
    let lengths = [cursor.u16()?, cursor.u16()?].map(u64::from);
    if method != 0 || cursor.take(lengths[0])? != name.as_bytes() {
        return Err("its record says something else than the directory".into());
    }
    cursor.take(lengths[1])?;
    Ok(cursor.at())
}

/// Numbers that do not fit 32 bits are in a field of their own, in this order.
fn wide(fields: &[u8], narrow: [u32; 3]) -> Result<[u64; 3], String> {
    let mut values = narrow.map(u64::from);
    if !narrow.contains(&u32::MAX) {
        return Ok(values);
    }
    let mut cursor = Cursor::new(fields);
    while cursor.left() > 0 {
        let (tag, length) = (cursor.u16()?, cursor.u16()?);
        let mut field = Cursor::new(cursor.take(length.into())?);
        if tag == 1 {
            for (value, _) in values.iter_mut().zip(narrow).filter(|(_, narrow)| *narrow == u32::MAX) {
                *value = field.u64()?;
            }
            return Ok(values);
        }
    }
    Err("sizes of more than 32 bits without a field for them".into())
}

/// A name that stays below one folder.
fn name(bytes: &[u8]) -> Result<&str, String> {
    let name = str::from_utf8(bytes).map_err(|_| "a name that is not UTF-8")?;
    let plain = !name.contains(['\\', '\0', ':']) && !name.starts_with('/');
    if name.is_empty() || !plain || name.split('/').any(|part| part == "..") {
        let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
        return Err(format!("a name that leaves its folder: `{shown}`"));
    }
    Ok(name)
}
