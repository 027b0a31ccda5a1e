//! How many threads there are to be, and the pool of this process: made at first use, and anew in a forked child.
//! A thread that has work to share takes part in it, so the pool has one less.

use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// The most threads a pool may have.
pub const MAX_THREADS: usize = 1024;

/// A number of threads that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadsError(String);

impl fmt::Display for ThreadsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; accepted: 1 to {MAX_THREADS}", self.0)
    }
}

impl std::error::Error for ThreadsError {}

/// What [`threads`] tells; 0 until it is known.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Threads that wait for work.
#[derive(Debug)]
pub(super) struct Pool {
    pub threads: ThreadPool,
    /// How many of them have work, or are about to.
    busy: AtomicUsize,
}

impl Pool {
    fn new(workers: usize) -> Result<Self, ThreadsError> {
        let threads = ThreadPoolBuilder::new()
            .num_threads(workers)
            .thread_name(|i| format!("ramekin-{i}"))
            .build()
            .map_err(|e| ThreadsError(format!("no pool of {workers} threads: {e}")))?;
        Ok(Self { threads, busy: AtomicUsize::new(0) })
    }

    /// How many threads there are.
    pub fn workers(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Takes up to so many threads that have no work, and says how many: whoever is given one need not wait for the end
    /// of others' work. Each is to be given back.
    pub fn take(&self, most: usize) -> usize {
        let free = |busy| most.min(self.workers().saturating_sub(busy));
        let taken =
            self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |busy| Some(busy + free(busy)));
        taken.map_or(0, free)
    }

    /// Gives a thread back.
    pub fn give_back(&self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A process and its pool.
struct Process {
    id: u32,
    pool: Mutex<Option<Arc<Pool>>>,
}

/// The process that last asked. `fork` copies this and all it leads to, but no threads: in a child the pool has none,
/// and its lock may be held for ever. So a child looks at nothing but the number, and puts its own in the place.
static PROCESS: AtomicPtr<Process> = AtomicPtr::new(ptr::null_mut());

fn this_process() -> &'static Process {
    let id = std::process::id();
    let last = PROCESS.load(Ordering::Acquire);
    // SAFETY: what is in PROCESS is null or comes from a box below that nobody frees.
    if let Some(process) = unsafe { last.as_ref() }
        && process.id == id
    {
        return process;
    }
    let new = Box::into_raw(Box::new(Process { id, pool: Mutex::new(None) }));
    match PROCESS.compare_exchange(last, new, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: it comes from the box, which from now on nobody frees.
        Ok(_) => unsafe { &*new },
        Err(first) => {
            // SAFETY: it comes from the box, and no other thread has seen it.
            drop(unsafe { Box::from_raw(new) });
            // SAFETY: another thread of this process was first, with a box that nobody frees.
            unsafe { &*first }
        }
    }
}

fn lock(process: &Process) -> MutexGuard<'_, Option<Arc<Pool>>> {
    process.pool.lock().unwrap_or_else(PoisonError::into_inner)
}

fn initial_threads() -> Result<usize, ThreadsError> {
    match std::env::var("RAMEKIN_NUM_THREADS").ok().as_deref() {
        None | Some("") => Ok(std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)),
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=MAX_THREADS).contains(n))
            .ok_or_else(|| ThreadsError(format!("RAMEKIN_NUM_THREADS={text:?}"))),
    }
}

/// How many threads long work uses.
///
/// # Errors
///
/// If `RAMEKIN_NUM_THREADS` is no number of threads.
pub fn threads() -> Result<usize, ThreadsError> {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let first = initial_threads()?;
            // What was set meanwhile stays.
            Ok(THREADS
                .compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed)
                .map_or_else(|set| set, |_| first))
        }
        threads => Ok(threads),
    }
}

/// Sets how many threads long work uses from now on.
///
/// # Errors
///
/// If `threads` is 0 or above [`MAX_THREADS`].
pub fn set_threads(threads: usize) -> Result<(), ThreadsError> {
    if !(1..=MAX_THREADS).contains(&threads) {
        return Err(ThreadsError(format!("{threads} threads")));
    }
    THREADS.store(threads, Ordering::Relaxed);
    // A pool of another size ends with the work that it does now.
    lock(this_process()).take_if(|pool| pool.workers() + 1 != threads);
    Ok(())
}

/// The pool of this process, made if there is none of the right size; None if long work is to use one thread.
pub(super) fn pool() -> Result<Option<Arc<Pool>>, ThreadsError> {
    let workers = threads()? - 1;
    if workers == 0 {
        return Ok(None);
    }
    let mut kept = lock(this_process());
    if let Some(pool) = &*kept
        && pool.workers() == workers
    {
        return Ok(Some(Arc::clone(pool)));
    }
    Ok(Some(Arc::clone(kept.insert(Arc::new(Pool::new(workers)?)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_follows_the_setting() {
        for n in [2, 1, 3] {
            set_threads(n).unwrap();
            assert_eq!(threads(), Ok(n));
            assert_eq!(pool().unwrap().map_or(0, |pool| pool.workers()), n - 1);
        }
        assert!(set_threads(0).unwrap_err().to_string().contains("1 to 1024"));
    }

    #[test]
    fn threads_with_work_are_not_given_more() {
        let pool = Pool::new(3).unwrap();
        assert_eq!((pool.take(2), pool.take(2), pool.take(2)), (2, 1, 0));
        pool.give_back();
        assert_eq!((pool.take(2), pool.take(2)), (1, 0));
    }

    #[test]
    fn a_process_has_one_pool() {
        let processes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| ptr::from_ref(this_process()).addr())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(processes.iter().all(|&p| p == processes[0]));
    }
}
