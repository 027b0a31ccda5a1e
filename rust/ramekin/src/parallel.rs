//! The thread pool: made at first use, resized on request, made anew in a forked child.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

struct State {
    /// The process that the pool's threads live in: `fork` copies the pool's memory, not its threads.
    process: u32,
    threads: usize,
    pool: Option<Arc<ThreadPool>>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

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

fn with_state<R>(use_state: impl FnOnce(&mut State) -> R) -> Result<R, ThreadsError> {
    let mut guard = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    let state = match guard.take() {
        Some(state) if state.process == process => state,
        Some(State { threads, pool, .. }) => {
            // Dropping the parent's pool would wait for threads that do not exist here.
            std::mem::forget(pool);
            State { process, threads, pool: None }
        }
        None => State { process, threads: initial_threads()?, pool: None },
    };
    Ok(use_state(guard.insert(state)))
}

/// How many threads long work uses.
///
/// # Errors
///
/// If `RAMEKIN_NUM_THREADS` is no number of threads.
pub fn threads() -> Result<usize, ThreadsError> {
    with_state(|state| state.threads)
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
    let mut guard = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    match guard.take() {
        Some(state) if state.process == process && state.threads == threads => *guard = Some(state),
        old => {
            if let Some(State { process: of, pool, .. }) = old
                && of != process
            {
                std::mem::forget(pool);
            }
            *guard = Some(State { process, threads, pool: None });
        }
    }
    Ok(())
}

/// Runs `work` on the pool, so that parallel iterators inside use it; on one thread, right here.
///
/// # Errors
///
/// If `RAMEKIN_NUM_THREADS` is no number of threads or the system gives no threads.
pub fn install<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R, ThreadsError> {
    let pool = with_state(|state| {
        if state.pool.is_none() {
            let pool = ThreadPoolBuilder::new()
                .num_threads(state.threads)
                .thread_name(|i| format!("ramekin-{i}"))
                .build()
                .map_err(|e| ThreadsError(format!("no pool of {} threads: {e}", state.threads)))?;
            state.pool = Some(Arc::new(pool));
        }
        Ok(state.pool.clone())
    })??;
    match pool {
        Some(pool) => Ok(pool.install(work)),
        None => Ok(work()),
    }
}

/// Elements that one thread works through before it takes more.
const CHUNK: usize = 1 << 16;

/// Applies `work` to `src` and `dst`, cut in step into chunks on the pool where that pays. It is told the index
/// of each chunk's first element.
///
/// # Errors
///
/// As [`install`].
///
/// # Panics
///
/// If the lengths differ.
pub fn zip_chunks<A: Sync, B: Send>(
    src: &[A],
    dst: &mut [B],
    work: impl Fn(usize, &[A], &mut [B]) + Sync + Send,
) -> Result<(), ThreadsError> {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    if src.len() <= 2 * CHUNK || threads()? == 1 {
        work(0, src, dst);
        return Ok(());
    }
    install(|| {
        let chunks = src.par_chunks(CHUNK).zip(dst.par_chunks_mut(CHUNK));
        chunks.enumerate().for_each(|(i, (src, dst))| work(i * CHUNK, src, dst));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_follows_the_setting() {
        for n in [2, 1, 3] {
            set_threads(n).unwrap();
            assert_eq!(threads(), Ok(n));
            assert_eq!(install(rayon::current_num_threads), Ok(n));
        }
        assert!(set_threads(0).unwrap_err().to_string().contains("1 to 1024"));
    }
}
