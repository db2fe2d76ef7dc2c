//! Files of a package's tarball, in memory: nothing is written, and nothing of an archive decides where anything goes.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

use super::{DataError, error};

/// Bytes of everything in a tarball.
const MOST: u64 = 64 << 20;
/// Entries of a tarball.
const ENTRIES: usize = 100_000;

/// The files that are wanted, with their paths inside the package, in the order of the archive.
pub(super) fn files(
    archive: &Path,
    package: &str,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<(String, Vec<u8>)>, DataError> {
    let wrong = |member: &str, why: &str| DataError::Package {
        package: package.to_owned(),
        member: member.to_owned(),
        why: why.to_owned(),
    };
    let broken = |error: std::io::Error| wrong("the tarball", &format!("{error} (it may hold {MOST} bytes at most)"));
    let file = File::open(archive).map_err(error::io("open", archive))?;
    let mut files = Vec::new();
    let mut tarball = Archive::new(GzDecoder::new(file).take(MOST));
    for (count, entry) in tarball.entries().map_err(broken)?.enumerate() {
        if count == ENTRIES {
            return Err(wrong("the tarball", &format!("more than {ENTRIES} entries")));
        }
        let mut entry = entry.map_err(broken)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            other => return Err(wrong(&name, &format!("an entry of type {other:?}; only files are expected"))),
        }
        let path = Path::new(&name);
        if !path.components().all(|part| matches!(part, Component::Normal(_))) || name.contains(['\\', '\0']) {
            return Err(wrong(&name, "a path that leaves the package"));
        }
        // The first folder is called `package` by npm, and anything by others.
        let Some((_, inside)) = name.split_once('/') else { continue };
        if wanted(inside) {
            let mut bytes = Vec::new();
            let size = entry.size();
            if size > MOST {
                return Err(wrong(&name, &format!("has {size} bytes; the tarball may hold {MOST} bytes at most")));
            }
            entry.read_to_end(&mut bytes).map_err(broken)?;
            if bytes.len() as u64 != size {
                return Err(wrong(&name, "is cut off"));
            }
            files.push((inside.to_owned(), bytes));
        }
    }
    Ok(files)
}
