//! Memory that is asked for before it is needed.

/// Asks for the memory at `at` to be brought near. Any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has the instruction, which never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Asks for the memory at `at` to be brought to a core's second cache: more can be under way than to the first.
#[inline(always)]
pub(crate) fn prefetch_far<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has the instruction, which never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Elements from which on a slice is not taken to be in a core's own caches.
const FAR: usize = 1 << 16;

/// How many bytes ahead a long slice is brought near: what a core works through while memory answers.
const DISTANCE: usize = 1 << 14;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Places from which a long slice is read in turn: a CPU looks ahead in the page of each by itself, and so more lines
/// are on their way at a time.
pub(crate) const STREAMS: usize = 4;

/// Which memory is brought near while some is worked on: so many bytes further on, for each line that is worked on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ahead {
    Nothing,
    Bytes(usize),
}

impl Ahead {
    /// Further on in the same slice, unless it is short: then it is near.
    #[inline(always)]
    pub(crate) fn of<T>(slice: &[T]) -> Self {
        if slice.len() < FAR { Self::Nothing } else { Self::Bytes(DISTANCE) }
    }

    /// Brings near what lies ahead of a part, of whole lines, that is worked on.
    #[inline(always)]
    pub(crate) fn bring<T>(self, part: &[T]) {
        if let Self::Bytes(distance) = self {
            for at in (0..size_of_val(part)).step_by(LINE) {
                prefetch_far(part.as_ptr().cast::<u8>().wrapping_add(distance + at));
            }
        }
    }
}
