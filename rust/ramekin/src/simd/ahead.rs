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

/// How far ahead of the element that is worked on the memory of a slice is brought near.
#[derive(Clone, Copy)]
pub(crate) struct Ahead(usize);

impl Ahead {
    /// Not at all where the slice is short: then it is near.
    #[inline(always)]
    pub(crate) fn of<T>(slice: &[T]) -> Self {
        Self(if slice.len() < FAR { 0 } else { DISTANCE })
    }

    /// Brings near what lies ahead of a part that is worked on: a line for each of its own.
    #[inline(always)]
    pub(crate) fn bring<T>(self, part: &[T]) {
        if self.0 > 0 {
            for at in (self.0..self.0 + size_of_val(part)).step_by(LINE) {
                prefetch_far(part.as_ptr().cast::<u8>().wrapping_add(at));
            }
        }
    }
}
