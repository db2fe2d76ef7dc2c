//! A pool of threads for kernels of a few microseconds.
//!
//! A job is a function of a task's index. Each thread has a run of tasks of its own, which it takes in order, as memory likes
//! it, and then what is left of the others'. The calling thread takes tasks too and never waits for a thread that has not
//! joined in: a job is opened, threads join it while it is open, and once all tasks are taken the caller closes it and
//! waits for those inside. Threads that find no job fetch what will be read next and spin for [`SPIN`], long enough to bridge
//! the gap between two layers, then sleep.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::foresight::{Foresight, Span};

/// How long a thread without work stays awake.
const SPIN: Duration = Duration::from_micros(200);

/// In [`Shared::state`]: threads inside (16 bits), whether a job is open, the job's number.
const INSIDE: u64 = 0xffff;
const OPEN: u64 = 1 << 16;
const NUMBER: u64 = 1 << 17;

/// A job: a function of the task's index that lives until the job is over.
type Job = *const (dyn Fn(usize) + Sync);

struct Shared {
    state: AtomicU64,
    /// The next task of each thread's run.
    next: Vec<Next>,
    tasks: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
    panicked: AtomicBool,
    stop: AtomicBool,
    foresight: Foresight,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

/// In a cache line of its own.
#[repr(align(64))]
struct Next(AtomicUsize);

// SAFETY: `job` is written only by the thread that holds `Pool::running`, while no job is open and no thread inside; it is
// read only by threads inside an open job, whose opening (release) and joining (acquire) order the two. The function is `Sync`.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is to a `Sync` function and used from several threads as such.
#[allow(unsafe_code)]
unsafe impl Send for Shared {}

/// Threads that wait for jobs.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    running: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

impl Pool {
    /// `threads` in all; the caller of [`Pool::run`] is one of them.
    pub(crate) fn new(threads: usize) -> Self {
        let threads = threads.clamp(1, 1024);
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: (0..threads).map(|_| Next(AtomicUsize::new(0))).collect(),
            tasks: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            foresight: Foresight::new(threads),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        let workers = (1..threads).filter_map(|index| {
            let shared = Arc::clone(&shared);
            // A thread that the system does not give is one fewer, not an error.
            std::thread::Builder::new().name(format!("kernel-{index}")).spawn(move || shared.work(index)).ok()
        });
        let workers = workers.collect();
        Self { shared, running: Mutex::new(()), workers }
    }

    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Says that a product begins with weights at `address`, of which each thread first reads what `spans` gives for it: threads
    /// that wait after it fetch what followed it the last time.
    pub(crate) fn foresee(&self, address: usize, spans: impl Fn(Range<usize>) -> Span, tasks: usize) {
        if !self.workers.is_empty() {
            let spans = (0..self.threads()).map(|thread| spans(self.shared.run(tasks, thread))).collect();
            self.shared.foresight.begins(address, spans);
        }
    }

    /// Runs `job(0)` … `job(tasks - 1)`, in any order, and returns when all are done. If the pool is busy with another
    /// caller's job, or the job calls this itself, the calling thread does it alone.
    ///
    /// # Panics
    /// If a task does.
    pub(crate) fn run(&self, tasks: usize, job: impl Fn(usize) + Sync) {
        let alone = self.workers.is_empty() || tasks < 2;
        let Some(_running) = (if alone { None } else { self.running.try_lock().ok() }) else {
            (0..tasks).for_each(job);
            return;
        };
        let shared = &*self.shared;
        let erased: &(dyn Fn(usize) + Sync) = &job;
        // SAFETY: the lifetime is erased; `Closing` takes the job back before this function is left, also by a panic, and
        // waits for every thread that joined. No job is open and nobody inside, and `running` is held: nobody else writes.
        #[allow(unsafe_code)]
        unsafe {
            *shared.job.get() = Some(std::mem::transmute::<&(dyn Fn(usize) + Sync), Job>(erased));
        }
        for (thread, next) in shared.next.iter().enumerate() {
            next.0.store(shared.run(tasks, thread).start, Ordering::Relaxed);
        }
        shared.tasks.store(tasks, Ordering::Relaxed);
        let number = shared.state.load(Ordering::Relaxed) & !(INSIDE | OPEN);
        shared.state.store(number.wrapping_add(NUMBER) | OPEN, Ordering::SeqCst);
        let closing = Closing(shared);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
            shared.wake.notify_all();
        }
        shared.take(0, &job);
        drop(closing);
        assert!(!shared.panicked.swap(false, Ordering::Relaxed), "a kernel panicked on another thread");
    }
}

/// Closes the open job and waits for the threads inside.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        for next in &self.0.next {
            next.0.store(usize::MAX / 2, Ordering::Relaxed); // after a panic: no further task
        }
        self.0.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while self.0.state.load(Ordering::Acquire) & INSIDE != 0 {
            spins = spins.saturating_add(1);
            if spins < 20_000 { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        {
            let _guard = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// The run of a thread.
    fn run(&self, tasks: usize, thread: usize) -> Range<usize> {
        let threads = self.next.len();
        tasks * thread / threads..tasks * (thread + 1) / threads
    }

    /// Takes tasks until there are none, first of the run of this thread.
    fn take(&self, thread: usize, job: &(dyn Fn(usize) + Sync)) {
        let tasks = self.tasks.load(Ordering::Relaxed);
        for other in 0..self.next.len() {
            let run = (thread + other) % self.next.len();
            let (next, end) = (&self.next[run].0, self.run(tasks, run).end);
            loop {
                let task = next.fetch_add(1, Ordering::Relaxed);
                if task >= end {
                    break;
                }
                job(task);
            }
        }
    }

    /// What thread `thread` of the pool does.
    fn work(&self, thread: usize) {
        let mut seen = 0; // number of the last job
        while let Some(number) = self.wait(thread, seen) {
            seen = number;
            if !self.join(number) {
                continue;
            }
            // SAFETY: inside an open job, so its function is alive and nobody writes the pointer.
            #[allow(unsafe_code)]
            let job = unsafe { (*self.job.get()).map(|job| &*job) };
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                if let Some(job) = job {
                    self.take(thread, job);
                }
            }));
            if done.is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.state.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Enters job `number` if it is still open.
    fn join(&self, number: u64) -> bool {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            if state & OPEN == 0 || state & !(INSIDE | OPEN) != number {
                return false;
            }
            match self.state.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    /// The number of an open job other than `seen`, when there is one; none when the pool is dropped.
    fn wait(&self, thread: usize, seen: u64) -> Option<u64> {
        let ready = || {
            let state = self.state.load(Ordering::SeqCst);
            let number = state & !(INSIDE | OPEN);
            (state & OPEN != 0 && number != seen).then_some(number)
        };
        let start = Instant::now();
        loop {
            for _ in 0..64 {
                if let Some(number) = ready() {
                    return Some(number);
                }
                if !self.foresight.fetch(thread) {
                    std::hint::spin_loop();
                }
            }
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if start.elapsed() > SPIN {
                break;
            }
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let number = loop {
            if self.stop.load(Ordering::SeqCst) {
                break None;
            }
            if let Some(number) = ready() {
                break Some(number);
            }
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        number
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_task_runs_once_whatever_the_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::new(threads);
            for tasks in [0, 1, 2, 7, 1000] {
                let done: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, |task| {
                    done[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_job_inside_a_job_and_two_callers_at_once_are_served() {
        let pool = Pool::new(3);
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        pool.run(5, |_| {
                            pool.run(3, |task| {
                                sum.fetch_add(task, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 4 * 100 * 5 * 3);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(2);
        let bad = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(64, |task| assert!(task != 40, "task 40"));
        }));
        assert!(bad.is_err());
        let count = AtomicUsize::new(0);
        pool.run(64, |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 64);
    }
}
