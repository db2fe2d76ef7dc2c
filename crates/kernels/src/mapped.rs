//! Files mapped into memory, and memory of whole pages.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapMut};

/// The bytes of a file, read by the system when they are touched and shared by all who map them.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    /// Maps a file for reading.
    ///
    /// # Errors
    /// What the system says, for instance about a file that is missing; whatever is not a file (a folder, a pipe) is refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Asked before it is opened: to open a pipe is to wait for its writer.
        if !path.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        let file = File::open(path)?;
        // SAFETY: the map is private and read-only, and the type hands out shared slices only. A program that shortens or
        // rewrites the file meanwhile breaks it for every reader; model files are replaced by renaming, never in place.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { path: path.to_path_buf(), map })
    }

    /// Lets go of the memory of a part that is not needed for now; it is read from the file again when it is touched.
    pub fn release(&self, part: std::ops::Range<usize>) {
        if part.is_empty() || part.end > self.map.len() {
            return;
        }
        // SAFETY: the map is shared and read-only, so its pages are those of the file, and come back as they were.
        #[cfg(unix)]
        #[allow(unsafe_code)]
        let _ = unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, part.start, part.len()) };
    }

    /// Where the file was.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

/// Zeroed memory that begins on a page and, where the system has them, lies in large pages: less to look up for whoever
/// reads all of it in order.
#[derive(Debug)]
pub(crate) struct Memory(Pages);

#[derive(Debug)]
enum Pages {
    Mapped(MmapMut),
    /// Where nothing can be mapped.
    Plain(Vec<u8>),
}

impl Memory {
    pub(crate) fn new(len: usize) -> Self {
        match MmapMut::map_anon(len) {
            Ok(map) => {
                #[cfg(target_os = "linux")]
                let _ = map.advise(memmap2::Advice::HugePage); // an advice, no more
                Self(Pages::Mapped(map))
            }
            Err(_) => Self(Pages::Plain(vec![0; len])),
        }
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Pages::Mapped(map) => map,
            Pages::Plain(bytes) => bytes,
        }
    }
}

impl AsMut<[u8]> for Memory {
    fn as_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Pages::Mapped(map) => map,
            Pages::Plain(bytes) => bytes,
        }
    }
}
