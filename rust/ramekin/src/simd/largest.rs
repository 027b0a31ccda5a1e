//! The largest magnitudes of short rows, many at a time.

/// Rows that go together.
pub(crate) const ROWS: usize = 16;

/// The bits of the largest magnitude in each row, NaN the largest of all.
#[inline(always)]
pub(super) fn largest<const W: usize>(rows: &[[f32; W]; ROWS]) -> [u32; ROWS] {
    let mut all = [0; ROWS];
    for (all, row) in all.iter_mut().zip(rows) {
        let mut most = 0;
        for x in row {
            most = (x.to_bits() & 0x7fff_ffff).max(most);
        }
        // The compiler does not see through this, lest it makes vectors across rows, which it must gather.
        *all = std::hint::black_box(most);
    }
    all
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::ROWS;

    /// # Safety
    ///
    /// The CPU must have AVX-512 F, and the calling function enable it. `W` must be a multiple of 16.
    #[inline(always)]
    pub(in crate::simd) unsafe fn largest_avx512<const W: usize>(rows: &[[f32; W]; ROWS]) -> [u32; ROWS] {
        // SAFETY: the caller vouches for the instructions; all vectors lie within their rows, and within `all`.
        unsafe {
            let magnitudes = _mm512_set1_epi32(0x7fff_ffff);
            let mut most = [_mm512_setzero_si512(); ROWS];
            for (most, row) in most.iter_mut().zip(rows) {
                for part in row.as_chunks::<16>().0 {
                    let bits = _mm512_loadu_si512(part.as_ptr().cast());
                    *most = _mm512_max_epu32(*most, _mm512_and_si512(bits, magnitudes));
                }
            }
            // Each step halves what is left of every row, and brings two rows' halves together: neighbours within
            // the quarters of vectors, then quarters.
            let mut pairs = [_mm512_setzero_si512(); 8];
            for (pair, two) in pairs.iter_mut().zip(most.as_chunks::<2>().0) {
                let (low, high) =
                    (_mm512_unpacklo_epi32(two[0], two[1]), _mm512_unpackhi_epi32(two[0], two[1]));
                *pair = _mm512_max_epu32(low, high);
            }
            let mut fours = [_mm512_setzero_si512(); 4];
            for (four, two) in fours.iter_mut().zip(pairs.as_chunks::<2>().0) {
                let (low, high) =
                    (_mm512_unpacklo_epi64(two[0], two[1]), _mm512_unpackhi_epi64(two[0], two[1]));
                *four = _mm512_max_epu32(low, high);
            }
            let mut eights = [_mm512_setzero_si512(); 2];
            for (eight, two) in eights.iter_mut().zip(fours.as_chunks::<2>().0) {
                *eight = max_of_quarters(two);
            }
            let mut all = [0; ROWS];
            _mm512_storeu_si512(all.as_mut_ptr().cast(), max_of_quarters(&eights));
            all
        }
    }

    /// The larger of each vector's even and odd quarters, side by side.
    #[inline(always)]
    unsafe fn max_of_quarters(two: &[__m512i; 2]) -> __m512i {
        // SAFETY: the caller of `largest_avx512` vouches for the instructions.
        unsafe {
            let even = _mm512_shuffle_i32x4::<0b10_00_10_00>(two[0], two[1]);
            let odd = _mm512_shuffle_i32x4::<0b11_01_11_01>(two[0], two[1]);
            _mm512_max_epu32(even, odd)
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::largest_avx512;

#[cfg(test)]
mod tests {
    use super::ROWS;
    use crate::isa::{Kernel, Level};
    use crate::simd::Simd;

    struct Largest<'a, const W: usize>(&'a [[f32; W]; ROWS]);

    impl<const W: usize> Kernel for Largest<'_, W> {
        type Output = [u32; ROWS];

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> [u32; ROWS] {
            simd.largest(self.0)
        }
    }

    fn check<const W: usize>() {
        let mut rows = [[0.0; W]; ROWS];
        for row in 0..ROWS {
            for at in 0..W {
                for x in [-1.5, f32::INFINITY, f32::from_bits(0xffc0_0001), -0.0] {
                    for (i, all) in rows.iter_mut().enumerate() {
                        all.fill(1e-3 * i as f32);
                    }
                    rows[row][at] = x;
                    let mut right: [u32; ROWS] = std::array::from_fn(|i| (1e-3 * i as f32).to_bits());
                    right[row] = right[row].max(x.abs().to_bits());
                    for level in Level::available() {
                        assert_eq!(level.run(Largest(&rows)), right, "{level} {row} {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn rows_keep_their_largest() {
        check::<16>();
        check::<32>();
    }
}
