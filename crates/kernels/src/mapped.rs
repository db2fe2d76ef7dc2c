//! Files mapped into memory, and memory of whole pages.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::{Mmap, MmapOptions, MmapRaw};

use crate::lanes::Cell;

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

    /// Lets go of the memory of a part that is not needed for now; it is read from the file again when it is touched, as is what
    /// lies beside it in the same large pages, which go as a whole.
    pub fn release(&self, part: std::ops::Range<usize>) {
        if part.is_empty() || part.end > self.map.len() {
            return;
        }
        let start = self.map.as_ptr() as usize;
        let first = ((start + part.start) / LARGE_PAGE * LARGE_PAGE).max(start);
        let last = (start + part.end).next_multiple_of(LARGE_PAGE).min(start + self.map.len());
        // SAFETY: the map is shared and read-only, so its pages are those of the file, and come back as they were.
        #[cfg(unix)]
        #[allow(unsafe_code)]
        let _ =
            unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, first - start, last - first) };
        #[cfg(not(unix))]
        let _ = (first, last); // nothing to advise there
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
///
/// A large page is had only where all of it is mapped when it is first touched, so pieces lie side by side in regions that are
/// mapped before: the many small matrices of a model would have none otherwise. A region goes when the last piece of it does,
/// the memory of a piece with the piece.
#[derive(Debug)]
pub(crate) struct Memory(Pages);

#[derive(Debug)]
enum Pages {
    Mapped {
        region: Arc<MmapRaw>,
        from: usize,
        len: usize,
    },
    /// Where nothing can be mapped: words, as cells want to begin at theirs, and how many bytes of them.
    Plain(Vec<u64>, usize),
}

/// Bytes of the large pages of most processors.
pub(crate) const LARGE_PAGE: usize = 2 << 20;

/// The region that pieces are taken from, and how much of it was.
static REGION: Mutex<(Weak<MmapRaw>, usize)> = Mutex::new((Weak::new(), 0));
/// Bytes of a region, which are taken from the system only where they are touched; elsewhere a piece has its own.
const BYTES: usize = if cfg!(target_os = "linux") { 256 << 20 } else { 0 };

/// Bytes of a page, which a piece begins with.
fn page() -> usize {
    #[cfg(target_os = "linux")]
    // SAFETY: the function reads a number.
    #[allow(unsafe_code)]
    return usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(1 << 16);
    #[cfg(not(target_os = "linux"))]
    1
}

impl Memory {
    pub(crate) fn new(len: usize) -> Self {
        Self(Self::mapped(len).unwrap_or_else(|_| Pages::Plain(vec![0; len.div_ceil(8)], len)))
    }

    fn mapped(len: usize) -> io::Result<Pages> {
        let map = |len: usize| -> io::Result<Arc<MmapRaw>> {
            let map = MmapOptions::new().len(len).no_reserve_swap().map_anon()?;
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage); // an advice, no more
            Ok(Arc::new(map.into()))
        };
        if len > BYTES / 2 {
            return Ok(Pages::Mapped { region: map(len)?, from: 0, len });
        }
        let mut last = REGION.lock().unwrap_or_else(PoisonError::into_inner);
        let region = match last.0.upgrade() {
            Some(region) if len <= BYTES - last.1 => region,
            _ => {
                let region = map(BYTES)?;
                *last = (Arc::downgrade(&region), 0);
                region
            }
        };
        let from = last.1;
        last.1 = (from + len).next_multiple_of(page());
        Ok(Pages::Mapped { region, from, len })
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        let (start, len) = match &self.0 {
            Pages::Mapped { region, from, len } => (region.as_ptr().wrapping_add(*from), *len),
            Pages::Plain(words, len) => (words.as_ptr().cast(), *len),
        };
        // SAFETY: the piece is inside its region and overlaps no other.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(start, len)
        }
    }
}

impl AsMut<[u8]> for Memory {
    fn as_mut(&mut self) -> &mut [u8] {
        let (start, len) = match &mut self.0 {
            Pages::Mapped { region, from, len } => (region.as_mut_ptr().wrapping_add(*from), *len),
            Pages::Plain(words, len) => (words.as_mut_ptr().cast(), *len),
        };
        // SAFETY: as above, and the piece is the caller's alone.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(start, len)
        }
    }
}

/// Cells in [`Memory`], zero at first.
#[derive(Debug)]
pub(crate) struct Cells<C>(Memory, PhantomData<C>);

impl<C: Cell> Cells<C> {
    pub(crate) fn new(count: usize) -> Self {
        Self(Memory::new(count * size_of::<C>()), PhantomData)
    }
}

impl<C: Cell> Deref for Cells<C> {
    type Target = [C];

    fn deref(&self) -> &[C] {
        let bytes = self.0.as_ref();
        // SAFETY: a cell has at most eight bytes, and any bytes are one.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<C>())
        }
    }
}

impl<C: Cell> DerefMut for Cells<C> {
    fn deref_mut(&mut self) -> &mut [C] {
        let bytes = self.0.as_mut();
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<C>())
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Memory {
    fn drop(&mut self) {
        if let Pages::Mapped { region, from, len } = &self.0 {
            // SAFETY: nobody has the piece any more, nor is it given out again.
            #[allow(unsafe_code)]
            let _ = unsafe { region.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, *from, *len) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_zero_and_apart_from_each_other() {
        let mut pieces: Vec<Memory> = [1, page(), 3 * page() + 7, BYTES / 2 + 1, 0, 5].map(Memory::new).into();
        for (index, piece) in pieces.iter_mut().enumerate() {
            assert!(piece.as_ref().iter().all(|byte| *byte == 0), "piece {index}");
            piece.as_mut().fill(index as u8 + 1);
        }
        drop(pieces.remove(1));
        let new = Memory::new(page());
        assert!(new.as_ref().iter().all(|byte| *byte == 0));
        for (piece, value) in pieces.iter().zip([1, 3, 4, 5, 6]) {
            assert!(piece.as_ref().iter().all(|byte| *byte == value), "piece of {value}");
        }
    }
}
