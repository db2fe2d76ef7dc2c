//! What will be read after a product, told from what was read after it the last time.
//!
//! Between two products a layer does little things on one thread, and memory would idle. A thread of the pool that waits then
//! fetches the beginning of the next product's weights into the cache. A wrong guess costs a few reads and nothing else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bytes fetched for each thread: with those of a second thread they fit its cache.
const FETCHED: usize = 512 << 10;
/// Bytes fetched between two looks for work.
const STEP: usize = 2 << 10;
/// Products remembered; more than any model has.
const MOST: usize = 1 << 14;

/// The bytes that a thread will read first: addresses, which may be stale, as nothing but a prefetch uses them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    from: usize,
    to: usize,
}

impl From<&[u8]> for Span {
    fn from(bytes: &[u8]) -> Self {
        let from = bytes.as_ptr() as usize;
        Self { from, to: from + bytes.len().min(FETCHED) }
    }
}

/// What follows what, and what is to be fetched now.
#[derive(Debug)]
pub(crate) struct Foresight {
    memory: Mutex<Memory>,
    /// For each thread: what is left of its span.
    now: Vec<[AtomicUsize; 2]>,
}

#[derive(Debug, Default)]
struct Memory {
    last: usize,
    /// By the address of a product's weights: the spans of the next.
    after: HashMap<usize, Vec<Span>>,
}

impl Foresight {
    pub(crate) fn new(threads: usize) -> Self {
        let nothing = || [AtomicUsize::new(0), AtomicUsize::new(0)];
        Self { memory: Mutex::default(), now: (0..threads).map(|_| nothing()).collect() }
    }

    /// A product with weights at this address begins, of which each thread first reads these bytes.
    pub(crate) fn begins(&self, address: usize, spans: Vec<Span>) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.after.len() >= MOST {
            memory.after.clear();
        }
        let last = std::mem::replace(&mut memory.last, address);
        memory.after.insert(last, spans);
        let next = memory.after.get(&address).map(Vec::as_slice).unwrap_or_default();
        for (index, [from, to]) in self.now.iter().enumerate() {
            let span = next.get(index).copied().unwrap_or_default();
            to.store(0, Ordering::Relaxed);
            from.store(span.from, Ordering::Relaxed);
            to.store(span.to, Ordering::Relaxed);
        }
    }

    /// Fetches a little, first for thread `thread`; whether there was anything to fetch.
    pub(crate) fn fetch(&self, thread: usize) -> bool {
        for other in 0..self.now.len() {
            let [from, to] = &self.now[(thread + other) % self.now.len()];
            let end = to.load(Ordering::Relaxed);
            if from.load(Ordering::Relaxed) < end {
                let start = from.fetch_add(STEP, Ordering::Relaxed);
                if start < end {
                    prefetch(start, end.min(start + STEP));
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(target_arch = "x86_64")]
fn prefetch(from: usize, to: usize) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    for address in (from..to).step_by(64) {
        // SAFETY: a prefetch reads nothing that the program sees and cannot fail, whatever the address.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(std::ptr::without_provenance(address));
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_: usize, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_once_is_fetched_the_next_time() {
        let (foresight, weights) = (Foresight::new(2), vec![0u8; 3 * STEP]);
        let spans = |weights: &[u8]| vec![Span::from(weights), Span::from(&weights[..STEP])];
        foresight.begins(1, Vec::new());
        foresight.begins(2, spans(&weights));
        assert!(!foresight.fetch(0), "nothing is known to follow 2");
        foresight.begins(1, Vec::new());
        let count = (0..100).filter(|_| foresight.fetch(1)).count();
        assert_eq!(count, 4, "three steps of one span, one of the other");
    }
}
