//! Square blocks of 32-bit elements, turned about their diagonal in registers.
//!
//! Written out by macros: a closure or a loop over registers is not sure to be inlined, and would be compiled for the
//! baseline.
//!
//! Row `i` of a block is `i * src_stride` bytes from `src`, of any alignment; column `i` goes to
//! `dst + i * dst_stride`.

/// A block of 4 by 4, for the compiler to make of it what it can.
///
/// # Safety
///
/// Four elements must be readable at each row of `src` and writable at each row of `dst`; they must not overlap.
#[inline(always)]
pub(super) unsafe fn transpose_4(src: *const u8, src_stride: isize, dst: *mut u32, dst_stride: usize) {
    for i in 0..4 {
        for j in 0..4 {
            // SAFETY: the caller vouches for both.
            unsafe {
                let from = src.offset(i * src_stride).cast::<u32>().add(j);
                *dst.add(j * dst_stride + i as usize) = from.read_unaligned();
            }
        }
    }
}

/// A block of 16 by 16 bytes.
///
/// # Safety
///
/// Sixteen bytes must be readable at each row of `src` and writable at each row of `dst`; they must not overlap.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) unsafe fn transpose_bytes(src: *const u8, src_stride: isize, dst: *mut u8, dst_stride: usize) {
    for i in 0..16 {
        for j in 0..16 {
            // SAFETY: the caller vouches for both.
            unsafe { *dst.add(j * dst_stride + i) = *src.offset(i as isize * src_stride).add(j) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::transpose_bytes;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{transpose_8, transpose_16};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::array;

    /// A block of 8 by 8.
    ///
    /// # Safety
    ///
    /// The CPU must have AVX2, and the calling function enable it. Eight elements must be readable at each row of
    /// `src` and writable at each row of `dst`; they must not overlap.
    #[inline(always)]
    pub(in crate::simd) unsafe fn transpose_8(
        src: *const u8,
        src_stride: isize,
        dst: *mut u32,
        dst_stride: usize,
    ) {
        // SAFETY: the caller vouches for the memory and the instructions.
        unsafe {
            // Half rows side by side: a vector holds elements of row i and of row i + 4. What is left are
            // transpositions of 4 by 4 within the halves, of elements 0 to 3 and of 4 to 7.
            macro_rules! half {
                ($half:literal: $($i:literal)*) => {{
                    let [r0, r1, r2, r3] = [$({
                        let at = src.offset($i * src_stride).add(16 * $half);
                        let low = _mm256_castps128_ps256(_mm_loadu_ps(at.cast()));
                        _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(at.offset(4 * src_stride).cast()))
                    }),*];
                    let (a, b) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
                    let (c, d) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
                    let column = dst.add(4 * $half * dst_stride).cast::<f32>();
                    _mm256_storeu_ps(column, _mm256_shuffle_ps::<0b01_00_01_00>(a, c));
                    _mm256_storeu_ps(column.add(dst_stride), _mm256_shuffle_ps::<0b11_10_11_10>(a, c));
                    _mm256_storeu_ps(column.add(2 * dst_stride), _mm256_shuffle_ps::<0b01_00_01_00>(b, d));
                    _mm256_storeu_ps(column.add(3 * dst_stride), _mm256_shuffle_ps::<0b11_10_11_10>(b, d));
                }};
            }
            half!(0: 0 1 2 3);
            half!(1: 0 1 2 3);
        }
    }

    /// A block of 16 by 16 bytes. Every x86-64 CPU has the instructions.
    ///
    /// # Safety
    ///
    /// Sixteen bytes must be readable at each row of `src` and writable at each row of `dst`; they must not overlap.
    #[inline(always)]
    pub(crate) unsafe fn transpose_bytes(src: *const u8, src_stride: isize, dst: *mut u8, dst_stride: usize) {
        // SAFETY: the caller vouches for the memory.
        unsafe {
            let mut rows: [__m128i; 16] =
                array::from_fn(|i| _mm_loadu_si128(src.offset(i as isize * src_stride).cast()));
            // Interleaving row i with row i + 8 moves the top bit of the row number to the bottom of the column
            // number; four times, and the two have changed places.
            for _ in 0..4 {
                let before = rows;
                for i in 0..8 {
                    rows[2 * i] = _mm_unpacklo_epi8(before[i], before[i + 8]);
                    rows[2 * i + 1] = _mm_unpackhi_epi8(before[i], before[i + 8]);
                }
            }
            for (j, row) in rows.into_iter().enumerate() {
                _mm_storeu_si128(dst.add(j * dst_stride).cast(), row);
            }
        }
    }

    /// A block of 16 by 16.
    ///
    /// # Safety
    ///
    /// The CPU must have AVX-512 F, and the calling function enable it. Sixteen elements must be readable at each
    /// row of `src` and writable at each row of `dst`; they must not overlap.
    #[inline(always)]
    pub(in crate::simd) unsafe fn transpose_16(
        src: *const u8,
        src_stride: isize,
        dst: *mut u32,
        dst_stride: usize,
    ) {
        // SAFETY: the caller vouches for the memory and the instructions.
        unsafe {
            // 1. Within groups of four rows, transpose each quarter: `quads[g][j]` holds in quarter q column
            //    4q + j of rows 4g to 4g + 3.
            macro_rules! quad {
                ($($i:literal)*) => {{
                    let [r0, r1, r2, r3] = [$(_mm512_loadu_ps(src.offset($i * src_stride).cast())),*];
                    let (a, b) = (_mm512_unpacklo_ps(r0, r1), _mm512_unpackhi_ps(r0, r1));
                    let (c, d) = (_mm512_unpacklo_ps(r2, r3), _mm512_unpackhi_ps(r2, r3));
                    [
                        _mm512_shuffle_ps::<0b01_00_01_00>(a, c),
                        _mm512_shuffle_ps::<0b11_10_11_10>(a, c),
                        _mm512_shuffle_ps::<0b01_00_01_00>(b, d),
                        _mm512_shuffle_ps::<0b11_10_11_10>(b, d),
                    ]
                }};
            }
            let quads = [quad!(0 1 2 3), quad!(4 5 6 7), quad!(8 9 10 11), quad!(12 13 14 15)];
            // 2. For each j the four quarters of the four groups are a 4 by 4 matrix of quarters.
            macro_rules! columns {
                ($($j:literal)*) => {$(
                    let [g0, g1, g2, g3] = [quads[0][$j], quads[1][$j], quads[2][$j], quads[3][$j]];
                    let even01 = _mm512_shuffle_f32x4::<0b10_00_10_00>(g0, g1);
                    let odd01 = _mm512_shuffle_f32x4::<0b11_01_11_01>(g0, g1);
                    let even23 = _mm512_shuffle_f32x4::<0b10_00_10_00>(g2, g3);
                    let odd23 = _mm512_shuffle_f32x4::<0b11_01_11_01>(g2, g3);
                    let column = dst.add($j * dst_stride).cast::<f32>();
                    let step = 4 * dst_stride;
                    _mm512_storeu_ps(column, _mm512_shuffle_f32x4::<0b10_00_10_00>(even01, even23));
                    _mm512_storeu_ps(column.add(step), _mm512_shuffle_f32x4::<0b10_00_10_00>(odd01, odd23));
                    _mm512_storeu_ps(column.add(2 * step), _mm512_shuffle_f32x4::<0b11_01_11_01>(even01, even23));
                    _mm512_storeu_ps(column.add(3 * step), _mm512_shuffle_f32x4::<0b11_01_11_01>(odd01, odd23));
                )*};
            }
            columns!(0 1 2 3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::transpose_bytes;
    use crate::isa::{Kernel, Level};
    use crate::simd::Simd;

    struct Square<'a>(&'a [u32], &'a mut [u32], usize);

    impl Kernel for Square<'_> {
        type Output = usize;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> usize {
            assert!(self.0.len() >= S::LANES * self.2 && self.1.len() >= S::LANES * self.2);
            // SAFETY: both have LANES rows of `self.2`, which is at least LANES.
            unsafe {
                simd.transpose(self.0.as_ptr().cast(), 4 * self.2 as isize, self.1.as_mut_ptr(), self.2)
            };
            S::LANES
        }
    }

    #[test]
    fn squares_turn_on_every_level() {
        let from: Vec<u32> = (0..16 * 20).collect();
        for level in Level::available() {
            let mut to = vec![u32::MAX; 16 * 20];
            let lanes = level.run(Square(&from, &mut to, 20));
            for i in 0..16 {
                for j in 0..20 {
                    let right = if i < lanes && j < lanes { from[j * 20 + i] } else { u32::MAX };
                    assert_eq!(to[i * 20 + j], right, "{level}: {i}, {j}");
                }
            }
        }
    }

    #[test]
    fn bytes_turn() {
        let from: Vec<u8> = (0..16 * 16).map(|i| i as u8).collect();
        let mut to = vec![0; 16 * 16];
        // SAFETY: both have 16 rows of 16.
        unsafe { transpose_bytes(from.as_ptr(), 16, to.as_mut_ptr(), 16) };
        assert!((0..256).all(|at| to[at] == from[at % 16 * 16 + at / 16]));
    }
}
