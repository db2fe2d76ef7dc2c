//! A file mapped into memory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

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
