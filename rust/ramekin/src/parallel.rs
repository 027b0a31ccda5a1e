//! Work shared by threads.

mod pool;
mod stop;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use self::pool::{MAX_THREADS, ThreadsError, set_threads, threads};
use self::pool::{Pool, pool};
pub use self::stop::{Never, Stop};
use crate::simd::prefetch;
use crate::stream;

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
/// As [`share`].
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
/// If `RAMEKIN_NUM_THREADS` is no number of threads or the system gives no threads.
pub fn share<T: Send>(
    items: impl Iterator<Item = T> + Send,
    count: usize,
    work: impl Fn(T) + Sync + Send,
) -> Result<(), ThreadsError> {
    share_until(&Never, items, count, work)
}

/// The same, but once it is to stop the remaining items are passed over.
///
/// # Errors
///
/// As [`share`].
pub fn share_until<T: Send>(
    stop: &dyn Stop,
    items: impl Iterator<Item = T> + Send,
    count: usize,
    work: impl Fn(T) + Sync + Send,
) -> Result<(), ThreadsError> {
    let helpers = if count > 2 { Helpers::new()? } else { None };
    share_with(helpers.as_ref(), stop, items, count, work);
    Ok(())
}

/// What `work` makes of each of `count` items, put together in their order.
///
/// # Errors
///
/// As [`share`].
pub fn reduce<T: Send, R: Default + Send>(
    items: impl Iterator<Item = T> + Send,
    count: usize,
    work: impl Fn(T) -> R + Sync + Send,
    and: impl Fn(R, R) -> R,
) -> Result<R, ThreadsError> {
    let mut results: Vec<R> = (0..count).map(|_| R::default()).collect();
    let helpers = Helpers::new()?;
    share_with(helpers.as_ref(), &Never, items.zip(&mut results), count, |(item, result)| {
        *result = work(item)
    });
    Ok(results.into_iter().fold(R::default(), and))
}

/// Each of `count` items shared with these helpers, or worked on alone.
pub(crate) fn share_with<T: Send>(
    helpers: Option<&Helpers>,
    stop: &dyn Stop,
    items: impl Iterator<Item = T> + Send,
    count: usize,
    work: impl Fn(T) + Sync + Send,
) {
    match helpers {
        Some(helpers) if count > 1 => helpers.share(stop, items, count, work),
        _ => items.take_while(|_| !stop.stopped()).for_each(work),
    }
}

/// The pool's threads, to share work with.
#[derive(Debug)]
pub(crate) struct Helpers(Arc<Pool>);

impl Helpers {
    /// None if long work is to use one thread.
    pub(crate) fn new() -> Result<Option<Self>, ThreadsError> {
        Ok(pool()?.map(Self))
    }

    /// How many threads share the work, the caller's among them.
    pub(crate) fn threads(&self) -> usize {
        self.0.workers() + 1
    }

    /// Applies `work` to each of `count` items, the caller's thread taking part, until it is to stop.
    fn share<T: Send>(
        &self,
        stop: &dyn Stop,
        items: impl Iterator<Item = T> + Send,
        count: usize,
        work: impl Fn(T) + Sync + Send,
    ) {
        // The caller takes items too: it need not sleep until a worker has woken. It takes the first ones and workers
        // the last, so that each finds again in its own caches what it worked on before.
        let items = Mutex::new(items.collect::<Vec<_>>().into_iter());
        let lock = || items.lock().unwrap_or_else(PoisonError::into_inner);
        // (Whether to stop is asked without the lock.)
        let unless_stopped = |item: Option<T>| item.filter(|_| !stop.stopped());
        let first = || {
            let item = lock().next();
            unless_stopped(item)
        };
        let last = || {
            let item = lock().next_back();
            unless_stopped(item)
        };
        // A worker that waits for others could wait for what it is to do itself.
        let nested = rayon::current_thread_index().is_some();
        let workers = if nested { 0 } else { self.0.take(count - 1) };
        let working = Working::new(&self.0, workers);
        self.0.threads.in_place_scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|_| {
                    let done = working.one();
                    while let Some(item) = last() {
                        work(item);
                    }
                    stay_awake();
                    drop(done);
                });
            }
            while let Some(item) = first() {
                work(item);
            }
            working.wait(stop);
        });
    }
}

/// The workers that were taken for some work.
struct Working<'a> {
    pool: &'a Pool,
    count: AtomicUsize,
    ended: (Mutex<()>, Condvar),
}

/// One of them, to be dropped at its end, even by a panic.
struct One<'a>(&'a Working<'a>);

/// How long the caller looks for the end of the others' work before it sleeps: shares are equal, and end at about the
/// same time.
const PATIENCE: Duration = Duration::from_micros(200);

/// How often the caller, asleep, asks whether to stop.
const INTERVAL: Duration = Duration::from_millis(10);

impl<'a> Working<'a> {
    fn new(pool: &'a Pool, count: usize) -> Self {
        Self { pool, count: AtomicUsize::new(count), ended: (Mutex::new(()), Condvar::new()) }
    }

    fn one(&'a self) -> One<'a> {
        One(self)
    }

    fn ended(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Waits for the end of all.
    fn wait(&self, stop: &dyn Stop) {
        let patience = Instant::now() + PATIENCE;
        while !self.ended() {
            if Instant::now() < patience {
                std::hint::spin_loop();
                continue;
            }
            stop.stopped();
            let (lock, condition) = &self.ended;
            let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.ended() {
                drop(condition.wait_timeout(guard, INTERVAL));
            }
        }
        // The pool has yet to be told of it. Who sleeps for that moment takes long to wake.
        for _ in 0..16 {
            std::hint::spin_loop();
        }
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.pool.give_back();
        // Under the lock, so that whoever is about to sleep hears of it.
        let (lock, condition) = &self.0.ended;
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.count.fetch_sub(1, Ordering::Release) == 1 {
            condition.notify_all();
        }
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
