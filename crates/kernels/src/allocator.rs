//! What the system's allocator does with memory that is given back.

/// Most bytes that stay: the largest value that the allocator takes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MOST: i32 = i32::MAX;

/// Has the allocator keep memory of large tensors for the next ones, where it is glibc's. Otherwise each of them comes from the
/// system anew, page by page, which takes a picture codec a tenth of its time. For programs whose tensors come and go.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function sets numbers of the allocator, under its lock.
    #[allow(unsafe_code)]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MOST);
        libc::mallopt(libc::M_TRIM_THRESHOLD, MOST);
    }
}
