//! One slice written by several threads, each to places of its own.

use std::marker::PhantomData;

/// A mutable slice handed out in parts that callers promise not to overlap.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: parts are disjoint by the promise of `slice`, so this is sending `&mut T`s to several threads.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// `count` values from `from`.
    ///
    /// # Safety
    /// No two parts that live at the same time may overlap: each task of a job writes places that follow from its index
    /// alone.
    #[allow(clippy::mut_from_ref, unsafe_code)]
    pub(crate) unsafe fn slice(&self, from: usize, count: usize) -> &mut [T] {
        assert!(from <= self.len && count <= self.len - from, "a part outside the slice");
        // SAFETY: inside the slice by the check above; disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), count) }
    }
}
