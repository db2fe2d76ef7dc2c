//! The container of a Debian package: an `ar` archive (deb(5), ar(5)) whose member `data.tar`, compressed or not, has the files.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Take};

use flate2::read::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

/// What the archive begins with.
const MAGIC: &[u8] = b"!<arch>\n";
/// Members that are looked at; a package has three.
const MEMBERS: usize = 16;
/// Memory that a compressed member may ask for; the strongest level of xz takes 65 MiB.
const MEMORY: u32 = 80 << 20;

/// The member's name, and its content as it was before compression.
///
/// # Errors
/// What is wrong with the archive, or the file system.
pub(super) fn data(mut file: File) -> io::Result<(String, Box<dyn Read>)> {
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(wrong("is no `ar` archive, so it is no Debian package"));
    }
    for _ in 0..MEMBERS {
        let (name, size) = header(&mut file)?;
        if name.starts_with("data.tar") {
            let content = open(&name, file.take(size))?;
            return Ok((name, content));
        }
        file.seek(SeekFrom::Current(i64::try_from(size.next_multiple_of(2)).map_err(io::Error::other)?))?;
    }
    Err(wrong("has many members, and no data.tar among the first"))
}

/// Name and size of the member at which the file stands.
fn header(file: &mut File) -> io::Result<(String, u64)> {
    let mut header = [0; 60];
    file.read_exact(&mut header).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => wrong("ends before data.tar"),
        _ => error,
    })?;
    // Name 16, time 12, owner 6, group 6, mode 8, size 10, end 2; in ASCII, filled with spaces.
    let text =
        |from: usize, to: usize| String::from_utf8_lossy(header.get(from..to).unwrap_or_default()).trim().to_owned();
    if !header.ends_with(b"`\n") {
        return Err(wrong("has a member with a broken header"));
    }
    // The field is too short for a size that would overflow when it is rounded up.
    let size = text(48, 58).parse().map_err(|_| wrong("has a member without a size"))?;
    Ok((text(0, 16).trim_end_matches('/').to_owned(), size))
}

fn open(name: &str, packed: Take<File>) -> io::Result<Box<dyn Read>> {
    Ok(match name {
        "data.tar" => Box::new(packed),
        "data.tar.gz" => Box::new(GzDecoder::new(packed)),
        "data.tar.xz" => Box::new(XzReader::new_mem_limit(packed, true, MEMORY >> 10)),
        "data.tar.zst" => {
            let decoder = StreamingDecoder::new_with_max_window_size(packed, u64::from(MEMORY));
            Box::new(decoder.map_err(|error| wrong(&format!("has a broken {name}: {error}")))?)
        }
        _ => return Err(wrong(&format!("has {name}, whose compression is not supported: gz, xz and zst are"))),
    })
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
