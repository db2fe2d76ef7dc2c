//! Files of a package, in memory: nothing is written, and nothing of an archive decides where anything goes.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

use super::{DataError, deb, error};

/// Bytes of everything in a tarball.
const MOST: u64 = 64 << 20;
/// Entries of a tarball.
const ENTRIES: usize = 100_000;

/// Whose tarball it is.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// All is in one folder, called `package` by npm, and anything by others; there are only files.
    Npm,
    /// Paths begin with `./`; there are links, which are passed over.
    Deb,
}

/// A package, for errors.
struct Package<'a> {
    name: &'a str,
    /// The tarball's name.
    tarball: &'a str,
    kind: Kind,
}

/// The files of an npm package that are wanted, with their paths inside the package, in the order of the archive.
pub(super) fn npm(
    archive: &Path,
    package: &str,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<(String, Vec<u8>)>, DataError> {
    let file = File::open(archive).map_err(error::io("open", archive))?;
    Package { name: package, tarball: "the tarball", kind: Kind::Npm }.files(GzDecoder::new(file), wanted)
}

/// The same of a Debian package: paths are those of the installed files, without a slash before them.
pub(super) fn deb(
    archive: &Path,
    package: &str,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<(String, Vec<u8>)>, DataError> {
    let file = File::open(archive).map_err(error::io("open", archive))?;
    let of = |tarball| Package { name: package, tarball, kind: Kind::Deb };
    let (name, content) = deb::data(file).map_err(|error| of("the archive").wrong("", &error.to_string()))?;
    of(&name).files(content, wanted)
}

impl Package<'_> {
    /// The error of a file, or of the tarball itself.
    fn wrong(&self, member: &str, why: &str) -> DataError {
        let member = if member.is_empty() { self.tarball } else { member };
        DataError::Package { package: self.name.to_owned(), member: member.to_owned(), why: why.to_owned() }
    }

    fn files(&self, content: impl Read, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<(String, Vec<u8>)>, DataError> {
        let broken = |error: std::io::Error| self.wrong("", &format!("{error} (it may hold {MOST} bytes at most)"));
        let mut files = Vec::new();
        let mut tarball = Archive::new(content.take(MOST));
        for (count, entry) in tarball.entries().map_err(broken)?.enumerate() {
            if count == ENTRIES {
                return Err(self.wrong("", &format!("more than {ENTRIES} entries")));
            }
            let mut entry = entry.map_err(broken)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {}
                EntryType::Directory | EntryType::XGlobalHeader => continue,
                _ if self.kind == Kind::Deb => continue,
                other => {
                    return Err(self.wrong(&name, &format!("an entry of type {other:?}; only files are expected")));
                }
            }
            let path = match self.kind {
                Kind::Npm => name.as_str(),
                Kind::Deb => name.strip_prefix("./").unwrap_or(&name),
            };
            let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
            if !inside || path.contains(['\\', '\0']) {
                return Err(self.wrong(&name, "a path that leaves the package"));
            }
            let path = match self.kind {
                Kind::Npm => path.split_once('/').map(|(_, path)| path),
                Kind::Deb => Some(path),
            };
            let Some(path) = path.filter(|path| wanted(path)).map(str::to_owned) else { continue };
            let size = entry.size();
            if size > MOST {
                let why = format!("has {size} bytes; the tarball may hold {MOST} bytes at most");
                return Err(self.wrong(&name, &why));
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(broken)?;
            if bytes.len() as u64 != size {
                return Err(self.wrong(&name, "is cut off"));
            }
            files.push((path, bytes));
        }
        Ok(files)
    }
}
