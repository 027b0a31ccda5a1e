//! Writing past the caches: what is larger than they are need not be read into them first to be overwritten.

/// Bytes read and written from which on it pays: more than a core's share of any cache.
pub(crate) const LARGE: usize = 1 << 26;

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
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};

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
