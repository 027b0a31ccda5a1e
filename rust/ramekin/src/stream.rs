//! Writing past the caches: what is larger than they are need not be read into them first to be overwritten.

use std::sync::OnceLock;

use crate::once::once;

/// Bytes read and written from which on it may pay: more than a core's share of most caches.
pub(crate) const LARGE: usize = 1 << 26;

/// Whether it pays. A cache that has the memory, from its last use, is slow to write past, and one that has it not is slow
/// to write to, as it reads what is overwritten. Which it is nobody knows beforehand where all would fit into half of
/// the largest cache: there it pays where by far the most is written.
pub(crate) fn pays(read: usize, written: usize) -> bool {
    let enough = if written / 4 >= read { LARGE } else { large() };
    // A small result costs less to read in than the second step costs that this takes.
    written >= read && read + written >= enough
}

/// Half of the largest cache, at least [`LARGE`].
fn large() -> usize {
    static FOUND: OnceLock<usize> = OnceLock::new();
    *once(&FOUND, || LARGE.max(largest_cache() / 2))
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
use x86::largest_cache;

/// Not known.
#[cfg(any(not(target_arch = "x86_64"), miri))]
fn largest_cache() -> usize {
    0
}

/// Copies `src` to `dst`, which is not brought into the caches. Others may look at it after a [`fence`].
///
/// # Panics
///
/// If the lengths differ.
pub(crate) fn copy<T: Copy>(src: &[T], dst: &mut [T]) {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    #[cfg(target_arch = "x86_64")]
    x86::copy(src, dst);
    #[cfg(not(target_arch = "x86_64"))]
    dst.copy_from_slice(src);
}

/// Makes what this thread has copied visible before whatever it writes next.
pub(crate) fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__cpuid, __cpuid_count, __m128i, _mm_loadu_si128, _mm_stream_si128};

    /// Bytes of the largest cache that the CPU tells of: in Intel's leaf 4, or in AMD's 0x8000001d, which is like it
    /// (Intel, "Software Developer's Manual", volume 2A, CPUID; AMD, "Programmer's Manual", volume 3, appendix E).
    pub(super) fn largest_cache() -> usize {
        const INTEL: u32 = 4;
        const AMD: u32 = 0x8000_001d;
        // (Newer versions of Rust have the two as safe functions.)
        #[allow(unused_unsafe)]
        // SAFETY: every x86-64 CPU has the instruction.
        let (about, about_cache) = (
            |leaf: u32| unsafe { __cpuid(leaf) },
            |leaf: u32, cache: u32| unsafe { __cpuid_count(leaf, cache) },
        );
        let there = |leaf: u32| about(leaf & 0x8000_0000).eax >= leaf;
        let mut largest = 0;
        for leaf in [INTEL, AMD].into_iter().filter(|&leaf| there(leaf)) {
            for cache in 0..16 {
                let told = about_cache(leaf, cache);
                if told.eax & 0x1f == 0 {
                    break;
                }
                let ways = (told.ebx >> 22) as usize + 1;
                let (partitions, line) =
                    ((told.ebx >> 12 & 0x3ff) as usize + 1, (told.ebx & 0xfff) as usize + 1);
                largest = largest.max(ways * partitions * line * (told.ecx as usize + 1));
            }
        }
        largest
    }

    pub(super) fn copy<T: Copy>(src: &[T], dst: &mut [T]) {
        let size = size_of::<__m128i>();
        let skip = dst.as_ptr().cast::<u8>().align_offset(size) / size_of::<T>();
        // Elements wider than their alignment may never meet a vector's: then nothing is streamed.
        let whole = if size.is_multiple_of(size_of::<T>()) { size / size_of::<T>() } else { usize::MAX };
        let skip = skip.min(dst.len());
        let vectors = (dst.len() - skip) / whole;
        let end = if vectors == 0 { skip } else { skip + vectors * whole };
        dst[..skip].copy_from_slice(&src[..skip]);
        dst[end..].copy_from_slice(&src[end..]);
        let (from, to) = (src[skip..end].as_ptr(), dst[skip..end].as_mut_ptr());
        // SAFETY: SSE2 is part of x86-64. `vectors` vectors of whole elements lie at both; those written begin at
        // multiples of their size, unless the offset was no whole number of elements, for which there is a plain
        // copy.
        unsafe {
            if to.cast::<__m128i>().is_aligned() {
                for i in 0..vectors {
                    _mm_stream_si128(
                        to.cast::<__m128i>().add(i),
                        _mm_loadu_si128(from.cast::<__m128i>().add(i)),
                    );
                }
            } else {
                to.copy_from_nonoverlapping(from, end - skip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_pays_for_much_that_is_written() {
        assert!(large() >= LARGE && large() < 1 << 40, "{}", large());
        assert!(pays(LARGE, 4 * LARGE) && !pays(LARGE / 8, LARGE / 2));
        assert!(pays(large(), large()) && !pays(large(), large() - 1) && !pays(LARGE / 2 - 1, LARGE / 2));
    }

    #[test]
    fn copies_everything_from_anywhere() {
        let src: Vec<u8> = (0..200).map(|i| i as u8).collect();
        for start in 0..20 {
            for end in (start..start + 3).chain(150..200) {
                let mut dst = [0xff; 200];
                copy(&src[start..end], &mut dst[start..end]);
                for (i, &x) in dst.iter().enumerate() {
                    assert_eq!(x, if (start..end).contains(&i) { src[i] } else { 0xff });
                }
            }
        }
        let mut dst = [[0u8; 3]; 9];
        copy(&[[1, 2, 3]; 9], &mut dst);
        assert_eq!(dst, [[1, 2, 3]; 9]);
        let mut dst = [0u64; 9];
        copy(&[7; 9], &mut dst);
        assert_eq!(dst, [7; 9]);
    }
}
