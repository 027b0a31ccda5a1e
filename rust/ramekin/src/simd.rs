//! Explicit vectors, for the one kernel that the compiler does not vectorise well by itself.
//!
//! A token ([`Portable`], `X86Avx2`, `X86Avx512`) stands for the fact that its instructions may be used here.

/// Vectors of `f32` of one instruction set.
pub(crate) trait Simd: Copy + Send + Sync {
    type F32: Copy;
    const LANES: usize;
    /// Rows and vectors of the matrix product's register tile.
    const TILE: (usize, usize);

    fn splat(self, value: f32) -> Self::F32;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// Whether [`Simd::to_float16`] does anything.
    const HAS_FLOAT16: bool;
    /// Rounds to float16, to nearest even, by the instruction for it; NaN becomes the canonical one.
    fn to_float16(self, src: &[f32; HALVES], dst: &mut [u16; HALVES]);
    /// # Safety
    ///
    /// `src` must be valid for reading `LANES` floats; no alignment is asked.
    unsafe fn load(self, src: *const f32) -> Self::F32;
    /// # Safety
    ///
    /// `dst` must be valid for writing `LANES` floats; no alignment is asked.
    unsafe fn store(self, dst: *mut f32, value: Self::F32);
}

/// How many float16 are made at a time.
pub(crate) const HALVES: usize = 16;

/// The baseline of the architecture.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

const PORTABLE_LANES: usize = 4;

impl Simd for Portable {
    type F32 = [f32; PORTABLE_LANES];
    const LANES: usize = PORTABLE_LANES;
    const TILE: (usize, usize) = (4, 2);

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        [value; PORTABLE_LANES]
    }

    #[inline(always)]
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        std::array::from_fn(|i| fma(a[i], b[i], c[i]))
    }

    const HAS_FLOAT16: bool = false;

    #[inline(always)]
    fn to_float16(self, _: &[f32; HALVES], _: &mut [u16; HALVES]) {}

    #[inline(always)]
    unsafe fn load(self, src: *const f32) -> Self::F32 {
        // SAFETY: the caller vouches for LANES readable floats.
        unsafe { src.cast::<Self::F32>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, dst: *mut f32, value: Self::F32) {
        // SAFETY: the caller vouches for LANES writable floats.
        unsafe { dst.cast::<Self::F32>().write_unaligned(value) }
    }
}

/// The fused multiply-add, from the instruction where the baseline has it.
#[cfg(any(target_arch = "aarch64", target_feature = "fma"))]
#[inline(always)]
pub(crate) fn fma(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

/// The fused multiply-add through float64, for baselines without the instruction.
///
/// The product of two float32 is exact in float64. The sum is not, so it is rounded to odd: 53 bits rounded to
/// odd and then to float32's 24 (or fewer, for subnormals) give the sum rounded once (Boldo and Melquiond,
/// "Emulation of FMA and correctly rounded sums", 2008).
#[cfg(not(any(target_arch = "aarch64", target_feature = "fma")))]
#[inline(always)]
pub(crate) fn fma(a: f32, b: f32, c: f32) -> f32 {
    let product = f64::from(a) * f64::from(b);
    let c = f64::from(c);
    let sum = product + c;
    // Knuth's TwoSum: `sum + error` is the exact sum. Infinities make the error NaN, for which both
    // comparisons below are false.
    let part = sum - product;
    let error = (product - (sum - part)) + (c - part);
    // To odd: the truncated sum with its last bit set. An even inexact sum moves one unit toward the error,
    // up in magnitude where the error has the sum's sign and down where it has the other.
    let bits = sum.to_bits();
    let inexact = u64::from(error > 0.0) | u64::from(error < 0.0);
    let opposite = u64::from((error < 0.0) != (sum < 0.0));
    let even = (bits & 1) ^ 1;
    let odd = bits.wrapping_add((inexact & even).wrapping_mul(1u64.wrapping_sub(2 * opposite)));
    f64::from_bits(odd) as f32
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{X86Avx2, X86Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{HALVES, Simd};
    use std::arch::x86_64::*;

    macro_rules! x86_simd {
        ($(#[$doc:meta])* $name:ident, $vector:ty, $lanes:literal, $tile:expr,
         $splat:ident, $fma:ident, $load:ident, $store:ident) => {
            $(#[$doc])*
            #[derive(Clone, Copy)]
            pub(crate) struct $name(());

            impl $name {
                /// # Safety
                ///
                /// The CPU must have the instructions, and the calling function enable them.
                #[inline(always)]
                pub(crate) unsafe fn new() -> Self {
                    Self(())
                }
            }

            impl Simd for $name {
                type F32 = $vector;
                const LANES: usize = $lanes;
                const TILE: (usize, usize) = $tile;
                const HAS_FLOAT16: bool = true;

                #[inline(always)]
                fn splat(self, value: f32) -> $vector {
                    // SAFETY: the token vouches for the instructions.
                    unsafe { $splat(value) }
                }

                #[inline(always)]
                fn fma(self, a: $vector, b: $vector, c: $vector) -> $vector {
                    // SAFETY: the token vouches for the instructions.
                    unsafe { $fma(a, b, c) }
                }

                #[inline(always)]
                fn to_float16(self, src: &[f32; HALVES], dst: &mut [u16; HALVES]) {
                    for (to, from) in dst.chunks_exact_mut(8).zip(src.chunks_exact(8)) {
                        // SAFETY: both tokens vouch for F16C and SSE 4.1; `from` is eight floats and `to` eight
                        // halves.
                        unsafe {
                            let floats = _mm256_loadu_ps(from.as_ptr());
                            let made = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(floats);
                            // The instruction keeps payloads: above infinity take sign and quiet bit instead.
                            let magnitude = _mm_and_si128(made, _mm_set1_epi16(0x7fff));
                            let is_nan = _mm_cmpgt_epi16(magnitude, _mm_set1_epi16(0x7c00));
                            let sign = _mm_andnot_si128(_mm_set1_epi16(0x7fff), made);
                            let nan = _mm_or_si128(sign, _mm_set1_epi16(0x7e00));
                            let halves = _mm_blendv_epi8(made, nan, is_nan);
                            _mm_storeu_si128(to.as_mut_ptr().cast(), halves);
                        }
                    }
                }

                #[inline(always)]
                unsafe fn load(self, src: *const f32) -> $vector {
                    // SAFETY: the token vouches for the instructions, the caller for the memory.
                    unsafe { $load(src) }
                }

                #[inline(always)]
                unsafe fn store(self, dst: *mut f32, value: $vector) {
                    // SAFETY: the token vouches for the instructions, the caller for the memory.
                    unsafe { $store(dst, value) }
                }
            }
        };
    }

    // Tiles fill the registers: 12 of 16 accumulate under AVX2, 24 of 32 under AVX-512.
    x86_simd!(
        /// AVX2 and FMA.
        X86Avx2, __m256, 8, (6, 2), _mm256_set1_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_storeu_ps
    );
    x86_simd!(
        /// AVX-512.
        X86Avx512, __m512, 16, (12, 2), _mm512_set1_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_storeu_ps
    );
}

#[cfg(test)]
mod tests {
    use super::fma;
    use proptest::prelude::*;

    fn same(a: f32, b: f32, c: f32) -> bool {
        let (ours, theirs) = (fma(a, b, c), a.mul_add(b, c));
        ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200_000))]

        #[test]
        fn emulated_fma_rounds_once(a: u32, b: u32, c: u32) {
            prop_assert!(same(f32::from_bits(a), f32::from_bits(b), f32::from_bits(c)));
        }

        /// Products near the addend, where rounding twice shows.
        #[test]
        fn emulated_fma_near_ties(a in 0x3f00_0000u32..0x4000_0000, b in 0x3f00_0000u32..0x4000_0000,
                                  low in 0u32..4, e in 60u32..190, negative: bool) {
            let c = f32::from_bits((e << 23) | low | (u32::from(negative) << 31));
            prop_assert!(same(f32::from_bits(a), f32::from_bits(b & !0xfff), c));
        }
    }

    #[test]
    fn emulated_fma_specials() {
        let values = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            f32::MIN_POSITIVE,
            f32::from_bits(1),
            -f32::from_bits(1),
            f32::MAX,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1.5,
            3.0e-39,
            -1.0e-45,
        ];
        for a in values {
            for b in values {
                for c in values {
                    assert!(same(a, b, c), "{a} * {b} + {c}");
                }
            }
        }
    }
}
