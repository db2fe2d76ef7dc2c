//! What the system's allocator does with memory that is given back, and in what pages it lies.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use crate::mapped::LARGE_PAGE;

/// Most bytes that stay: the largest value that the allocator takes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MOST: i32 = i32::MAX;

/// Bytes that lie in large pages, as far as they are used.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: usize = if usize::BITS == 64 { 1 << 30 } else { 0 };

/// Has the allocator give back what is free, and from then on keep the memory of large tensors for the next ones, where it is
/// glibc's. Otherwise each of them comes from the system anew, page by page, which takes a picture codec a tenth of its time.
/// What the calling thread takes from then on lies in large pages. For programs whose tensors come and go, once what is needed
/// but for a while, as to read a model, was given back.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the first function gives free pages to the system, the next two set numbers of the allocator, all under its locks.
    // The memory is given back at once, untouched, and stays the allocator's, by these numbers; the advice is about its whole
    // pages and changes nothing that the program sees.
    #[allow(unsafe_code)]
    unsafe {
        libc::malloc_trim(0);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MOST);
        libc::mallopt(libc::M_TRIM_THRESHOLD, MOST);
        let start = libc::malloc(LARGE);
        if !start.is_null() {
            let page = LARGE_PAGE;
            let skipped = start.align_offset(page).min(LARGE);
            libc::madvise(start.wrapping_byte_add(skipped), LARGE - skipped, libc::MADV_HUGEPAGE);
        }
        libc::free(start);
    }
}
