//! Work shared by threads.

mod pool;

use std::cell::Cell;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::ThreadPool;

use self::pool::pool;
pub use self::pool::{MAX_THREADS, ThreadsError, set_threads, threads};
use crate::simd::prefetch;
use crate::stream;

/// Runs `work` on the pool, so that parallel iterators inside use it.
///
/// # Errors
///
/// If `RAMEKIN_NUM_THREADS` is no number of threads or the system gives no threads.
pub fn install<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R, ThreadsError> {
    Ok(pool()?.install(work))
}

/// Runs `work` on the pool and meanwhile, on the caller's own thread, `look` every so often.
///
/// # Errors
///
/// As [`install`].
pub fn install_watched<R: Send>(
    work: impl FnOnce() -> R + Send,
    interval: Duration,
    mut look: impl FnMut(),
) -> Result<R, ThreadsError> {
    let (mut result, pool) = (None, pool()?);
    pool.in_place_scope(|scope| {
        let (running, ended) = mpsc::channel::<()>();
        scope.spawn(|_| {
            // Dropped at the end, even by a panic.
            let _running = running;
            result = Some(work());
        });
        while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            look();
        }
    });
    Ok(result.expect("a panic of the work would have come through the scope"))
}

/// Elements that one thread works through before it takes more.
const CHUNK: usize = 1 << 16;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Elements that are worked out in a core's nearest cache before they are written past it.
const BLOCK: usize = 1 << 12;

/// Applies `work` to `src` and `dst`, cut in step into chunks on the pool where that pays. It is told the index
/// of each chunk's first element, and writes every element of its part of `dst`. What is larger than the caches is
/// written past them.
///
/// # Errors
///
/// As [`install`].
///
/// # Panics
///
/// If the lengths differ.
pub fn zip_chunks<A: Sync, B: Copy + Default + Send>(
    src: &[A],
    dst: &mut [B],
    work: impl Fn(usize, &[A], &mut [B]) + Sync + Send,
) -> Result<(), ThreadsError> {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    if !stream::pays(size_of_val(src), size_of_val(dst)) {
        return chunks(src, dst, work);
    }
    chunks(src, dst, |start, src, dst| {
        let mut block = vec![B::default(); BLOCK.min(dst.len())];
        for (i, (src, dst)) in src.chunks(BLOCK).zip(dst.chunks_mut(BLOCK)).enumerate() {
            let block = &mut block[..dst.len()];
            // The next part of `src` comes while this one is worked on.
            let next = src.as_ptr_range().end.cast::<u8>();
            for at in (0..size_of_val(src)).step_by(LINE) {
                prefetch(next.wrapping_add(at));
            }
            work(start + i * BLOCK, src, block);
            stream::copy(block, dst);
        }
        stream::fence();
    })
}

/// Applies `work` to chunks.
fn chunks<A: Sync, B: Send>(
    src: &[A],
    dst: &mut [B],
    work: impl Fn(usize, &[A], &mut [B]) + Sync + Send,
) -> Result<(), ThreadsError> {
    if src.len() <= 2 * CHUNK || threads()? == 1 {
        work(0, src, dst);
        return Ok(());
    }
    let count = src.len().div_ceil(CHUNK);
    share(src.chunks(CHUNK).zip(dst.chunks_mut(CHUNK)).enumerate(), count, |(i, (src, dst))| {
        work(i * CHUNK, src, dst);
    })
}

/// Applies `work` to each of `count` items, on the pool if they are more than two, the caller's thread taking part.
///
/// # Errors
///
/// As [`install`].
pub fn share<T: Send>(
    items: impl Iterator<Item = T> + Send,
    count: usize,
    work: impl Fn(T) + Sync + Send,
) -> Result<(), ThreadsError> {
    match if count > 2 { Helpers::new()? } else { None } {
        Some(helpers) => helpers.share(items, count, work),
        None => items.for_each(work),
    }
    Ok(())
}

/// The pool's threads, to share work with.
#[derive(Debug)]
pub(crate) struct Helpers(Arc<ThreadPool>);

impl Helpers {
    /// None if long work is to use one thread.
    pub(crate) fn new() -> Result<Option<Self>, ThreadsError> {
        if threads()? == 1 { Ok(None) } else { pool().map(Self).map(Some) }
    }

    /// How many threads share the work, the caller's among them.
    pub(crate) fn threads(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Applies `work` to each of `count` items, the caller's thread taking part.
    pub(crate) fn share<T: Send>(
        &self,
        items: impl Iterator<Item = T> + Send,
        count: usize,
        work: impl Fn(T) + Sync + Send,
    ) {
        // The caller takes items too: it need not sleep until a worker has woken. It takes the first ones and workers
        // the last, so that each finds again in its own caches what it worked on before.
        let items = Mutex::new(items.collect::<Vec<_>>().into_iter());
        let lock = || items.lock().unwrap_or_else(PoisonError::into_inner);
        let first = || lock().next();
        let last = || lock().next_back();
        self.0.in_place_scope(|scope| {
            for _ in 1..self.threads().min(count) {
                scope.spawn(|_| {
                    while let Some(item) = last() {
                        work(item);
                    }
                    stay_awake();
                });
            }
            while let Some(item) = first() {
                work(item);
            }
        });
    }
}

/// How long a worker looks for more work before it sleeps: as long as it takes to wake on a virtual machine. Work
/// on arrays comes in quick succession.
const AWAKE: Duration = Duration::from_micros(200);

thread_local! {
    /// Until when this worker looks for work, if it does.
    static AWAKE_UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Keeps a worker of the pool that has done its part from sleeping at once.
fn stay_awake() {
    if AWAKE_UNTIL.get().is_some() {
        // The loop below, further up this thread's stack, came here.
        AWAKE_UNTIL.set(Some(Instant::now() + AWAKE));
        return;
    }
    rayon::spawn(|| {
        if AWAKE_UNTIL.get().is_none() {
            AWAKE_UNTIL.set(Some(Instant::now() + AWAKE));
            while AWAKE_UNTIL.get().is_some_and(|until| Instant::now() < until) {
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    std::hint::spin_loop();
                }
            }
            AWAKE_UNTIL.set(None);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn chunks_cover_everything_once() {
        for n in [0, 5, CHUNK, 2 * CHUNK + 1, 7 * CHUNK + 3] {
            let src: Vec<usize> = (0..n).collect();
            let mut dst = vec![0; n];
            let worked = AtomicUsize::new(0);
            zip_chunks(&src, &mut dst, |start, src, dst| {
                worked.fetch_add(dst.len(), Ordering::Relaxed);
                for (i, (dst, src)) in dst.iter_mut().zip(src).enumerate() {
                    *dst = src + start + i;
                }
            })
            .unwrap();
            assert_eq!(worked.into_inner(), n);
            assert!(dst.iter().enumerate().all(|(i, &x)| x == 2 * i));
        }
    }

    #[test]
    fn what_is_streamed_is_written_once() {
        let n = stream::LARGE / 9 + 3;
        let (src, mut dst) = (vec![1u8; n], vec![0u64; n]);
        assert!(stream::pays(size_of_val(src.as_slice()), size_of_val(dst.as_slice())));
        zip_chunks(&src, &mut dst, |start, src, dst| {
            for (i, (dst, &src)) in dst.iter_mut().zip(src).enumerate() {
                *dst = (start + i) as u64 + u64::from(src);
            }
        })
        .unwrap();
        assert!(dst.iter().enumerate().all(|(i, &x)| x == i as u64 + 1));
    }
}
