//! Groups of a few bytes to 64-bit words and back: what lies between packed codes and arithmetic on them.

/// Words that go together.
pub(crate) const WORDS: usize = 8;

/// Bytes that may be read or written where groups lie.
pub(crate) const SPAN: usize = 64;

/// The words that groups of `B` bytes make, one after the other.
#[inline(always)]
pub(super) fn widen<const B: usize>(groups: &[u8; SPAN]) -> [u64; WORDS] {
    std::array::from_fn(|i| {
        let mut word = [0; 8];
        word[..B].copy_from_slice(&groups[i * B..][..B]);
        u64::from_le_bytes(word)
    })
}

/// Writes the low `B` bytes of each word, one group after the other.
#[inline(always)]
pub(super) fn narrow<const B: usize>(words: &[u64; WORDS], groups: &mut [u8; SPAN]) {
    for (i, word) in words.iter().enumerate() {
        groups[i * B..][..B].copy_from_slice(&word.to_le_bytes()[..B]);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{SPAN, WORDS};

    /// Where each byte of the words lies in groups of `B` bytes; with the top bit set where it is zero.
    const fn widened<const B: usize, const N: usize>() -> [u8; N] {
        let mut places = [0x80; N];
        let mut i = 0;
        while i < N {
            if i % 8 < B {
                places[i] = (i / 8 * B + i % 8) as u8;
            }
            i += 1;
        }
        places
    }

    /// Where each byte of the groups lies in the words.
    const fn narrowed<const B: usize, const N: usize>() -> [u8; N] {
        let mut places = [0x80; N];
        let mut i = 0;
        while i < N / 8 * B {
            places[i] = (i / B * 8 + i % B) as u8;
            i += 1;
        }
        places
    }

    /// # Safety
    ///
    /// The CPU must have AVX2, and the calling function enable it.
    #[inline(always)]
    pub(in crate::simd) unsafe fn widen_avx2<const B: usize>(groups: &[u8; SPAN]) -> [u64; WORDS] {
        let places = const { widened::<B, 16>() };
        let mut words = [0; WORDS];
        for (i, two) in words.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let groups: &[u8] = &groups[2 * B * i..][..16];
            // SAFETY: the caller vouches for the instructions; `groups` and `two` are whole vectors.
            unsafe {
                let places = _mm_loadu_si128(places.as_ptr().cast());
                let wide = _mm_shuffle_epi8(_mm_loadu_si128(groups.as_ptr().cast()), places);
                _mm_storeu_si128(two.as_mut_ptr().cast(), wide);
            }
        }
        words
    }

    /// # Safety
    ///
    /// As [`widen_avx2`].
    #[inline(always)]
    pub(in crate::simd) unsafe fn narrow_avx2<const B: usize>(words: &[u64; WORDS], groups: &mut [u8; SPAN]) {
        let places = const { narrowed::<B, 16>() };
        // In ascending order: each writes beyond its own groups, where the next ones go.
        for (i, two) in words.as_chunks::<2>().0.iter().enumerate() {
            let groups: &mut [u8] = &mut groups[2 * B * i..][..16];
            // SAFETY: the caller vouches for the instructions; `two` and `groups` are whole vectors.
            unsafe {
                let places = _mm_loadu_si128(places.as_ptr().cast());
                let narrow = _mm_shuffle_epi8(_mm_loadu_si128(two.as_ptr().cast()), places);
                _mm_storeu_si128(groups.as_mut_ptr().cast(), narrow);
            }
        }
    }

    /// # Safety
    ///
    /// The CPU must have AVX-512 BW and VBMI, and the calling function enable them.
    #[inline(always)]
    pub(in crate::simd) unsafe fn widen_avx512<const B: usize>(groups: &[u8; SPAN]) -> [u64; WORDS] {
        let places = const { widened::<B, 64>() };
        let mut words = [0; WORDS];
        // SAFETY: the caller vouches for the instructions; all arrays are whole vectors.
        unsafe {
            let places = _mm512_loadu_si512(places.as_ptr().cast());
            let known = !_mm512_movepi8_mask(places);
            let groups = _mm512_loadu_si512(groups.as_ptr().cast());
            let wide = _mm512_maskz_permutexvar_epi8(known, places, groups);
            _mm512_storeu_si512(words.as_mut_ptr().cast(), wide);
        }
        words
    }

    /// # Safety
    ///
    /// As [`widen_avx512`].
    #[inline(always)]
    pub(in crate::simd) unsafe fn narrow_avx512<const B: usize>(
        words: &[u64; WORDS],
        groups: &mut [u8; SPAN],
    ) {
        let places = const { narrowed::<B, 64>() };
        // SAFETY: the caller vouches for the instructions; all arrays are whole vectors.
        unsafe {
            let words = _mm512_loadu_si512(words.as_ptr().cast());
            let places = _mm512_loadu_si512(places.as_ptr().cast());
            _mm512_storeu_si512(groups.as_mut_ptr().cast(), _mm512_permutexvar_epi8(places, words));
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{narrow_avx2, narrow_avx512, widen_avx2, widen_avx512};
