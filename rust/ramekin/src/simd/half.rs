//! float32 to the two 16-bit formats, to nearest even: NaN becomes the canonical one of its sign.

/// How many are converted at a time.
pub(crate) const HALVES: usize = 32;

/// To bfloat16: the upper half, rounded, the sign going along.
#[inline(always)]
pub(super) fn bfloat16(x: f32) -> u16 {
    let bits = x.to_bits();
    let upper = bits >> 16;
    // A carry runs from the mantissa into the exponent, at most to infinity: never into the sign.
    let rounded = bits.wrapping_add(0x7fff + (upper & 1)) >> 16;
    let nan = (upper & 0x8000) | 0x7fc0;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { nan } else { rounded }) as u16
}

/// The same for a block, as the compiler has it.
#[inline(always)]
pub(super) fn to_bfloat16(src: &[f32; HALVES], dst: &mut [u16; HALVES]) {
    for (dst, &src) in dst.iter_mut().zip(src) {
        *dst = bfloat16(src);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::HALVES;

    /// # Safety
    ///
    /// The CPU must have AVX2 and F16C, and the calling function enable them.
    #[inline(always)]
    pub(in crate::simd) unsafe fn to_float16_avx2(src: &[f32; HALVES], dst: &mut [u16; HALVES]) {
        for (to, from) in dst.chunks_exact_mut(8).zip(src.chunks_exact(8)) {
            // SAFETY: the caller vouches for the instructions; `from` is eight floats and `to` eight halves.
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

    /// # Safety
    ///
    /// The CPU must have AVX-512 F, BW and VL, and the calling function enable them.
    #[inline(always)]
    pub(in crate::simd) unsafe fn to_float16_avx512(src: &[f32; HALVES], dst: &mut [u16; HALVES]) {
        for (to, from) in dst.chunks_exact_mut(16).zip(src.chunks_exact(16)) {
            // SAFETY: the caller vouches for the instructions; `from` is sixteen floats and `to` sixteen halves.
            unsafe {
                let floats = _mm512_loadu_ps(from.as_ptr());
                let made = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(floats);
                let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(floats, floats);
                let sign = _mm256_and_si256(made, _mm256_set1_epi16(i16::MIN));
                let nan = _mm256_or_si256(sign, _mm256_set1_epi16(0x7e00));
                _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm256_mask_mov_epi16(made, is_nan, nan));
            }
        }
    }

    /// The upper half of each float in two vectors.
    const UPPER: [u16; HALVES] = {
        let mut places = [0; HALVES];
        let mut i = 0;
        while i < HALVES {
            places[i] = 2 * i as u16 + 1;
            i += 1;
        }
        places
    };

    /// # Safety
    ///
    /// The CPU must have AVX-512 F and BW, and the calling function enable them.
    #[inline(always)]
    pub(in crate::simd) unsafe fn to_bfloat16_avx512(src: &[f32; HALVES], dst: &mut [u16; HALVES]) {
        // The steps of `bfloat16`, its result left in the upper half.
        macro_rules! rounded {
            ($bits:expr) => {{
                let bits = $bits;
                let last = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                let sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), last);
                let floats = _mm512_castsi512_ps(bits);
                let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(floats, floats);
                // a & b | c
                let nan = _mm512_ternarylogic_epi32::<0xea>(
                    bits,
                    _mm512_set1_epi32(i32::MIN),
                    _mm512_set1_epi32(0x7fc0_0000),
                );
                _mm512_mask_mov_epi32(sum, is_nan, nan)
            }};
        }
        // SAFETY: the caller vouches for the instructions; `src` is two vectors and `dst` one.
        unsafe {
            let low = rounded!(_mm512_loadu_si512(src.as_ptr().cast()));
            let high = rounded!(_mm512_loadu_si512(src.as_ptr().add(16).cast()));
            let places = _mm512_loadu_si512(UPPER.as_ptr().cast());
            let halves = _mm512_permutex2var_epi16(low, places, high);
            _mm512_storeu_si512(dst.as_mut_ptr().cast(), halves);
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{to_bfloat16_avx512, to_float16_avx2, to_float16_avx512};
