//! float32 to codes of up to eight bits, rounded by the adder in any deterministic direction: for levels whose
//! instructions name a direction of their own.

/// How many are converted at a time.
pub(crate) const BYTES: usize = 64;
/// Bytes of as many codes of up to four bits, two to a byte, low bits first.
pub(crate) const PAIRS: usize = BYTES / 2;
/// Floats of one vector, which share a factor.
pub(crate) const FLOATS: usize = 16;

/// What becomes of the sign.
pub(crate) mod sign {
    /// Every code has one.
    pub const KEPT: u8 = 0;
    /// Zero has none.
    pub const NOT_OF_ZERO: u8 = 1;
    /// Negative numbers have no code.
    pub const NONE: u8 = 2;
}

/// Numbers that the steps need, which do not change from one element to the next.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no other level has these steps"))]
pub(crate) struct ByteSteps {
    /// Larger magnitudes become this one.
    pub ceiling: f32,
    /// The smallest normal number of the format.
    pub min_normal: f32,
    /// How many mantissa bits go.
    pub shift: u32,
    /// The code's exponent field, as the float's own counts it, of the smallest normal number.
    pub offset: u16,
    /// The bits that hold the magnitude's code.
    pub magnitude_mask: u8,
    pub sign_bit: u8,
    /// How far a byte's highest bit is from the sign.
    pub sign_shift: u16,
    /// The code of NaN.
    pub nan: u8,
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{BYTES, ByteSteps, FLOATS, PAIRS, sign};
    use crate::rounding::direction;

    /// Whether all are numbers that [`codes`] takes: no NaN and, where infinity is no overflow, no infinity.
    ///
    /// # Safety
    ///
    /// The CPU must have AVX-512 F, and the calling function enable it.
    #[inline(always)]
    pub(in crate::simd) unsafe fn are_numbers<const DIRECTION: u8>(src: &[f32; BYTES]) -> bool {
        // SAFETY: the caller vouches for the instructions; the vectors are those of `src`.
        unsafe {
            let mut apart = vectors(src);
            if !matches!(DIRECTION, direction::TIES_TO_EVEN | direction::TIES_TO_AWAY) {
                for x in &mut apart {
                    // Infinity less itself is NaN, as NaN is.
                    *x = _mm512_sub_ps(*x, *x);
                }
            }
            let one = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(apart[0], apart[1]);
            let other = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(apart[2], apart[3]);
            one | other == 0
        }
    }

    /// The vectors of a block.
    #[inline(always)]
    unsafe fn vectors(src: &[f32; BYTES]) -> [__m512; 4] {
        // SAFETY: the callers vouch for the instructions; the block is four vectors.
        unsafe {
            let mut vectors = [_mm512_setzero_ps(); 4];
            for (vector, floats) in vectors.iter_mut().zip(src.as_chunks::<FLOATS>().0) {
                *vector = _mm512_loadu_ps(floats.as_ptr());
            }
            vectors
        }
    }

    /// The codes of numbers, each times the factor of its vector where there are factors.
    ///
    /// # Safety
    ///
    /// The CPU must have AVX-512 F, BW and DQ, and the calling function enable them. The floating-point environment
    /// must be the default one.
    #[inline(always)]
    pub(in crate::simd) unsafe fn codes<const DIRECTION: u8, const SIGN: u8, const N: usize>(
        steps: &ByteSteps,
        src: &[f32; BYTES],
        factors: Option<[&f32; BYTES / FLOATS]>,
        dst: &mut [u8; N],
    ) {
        // SAFETY: the caller vouches for the instructions; `src` is four vectors and `dst` one, or half of
        // one.
        unsafe {
            let mut numbers = vectors(src);
            if let Some(factors) = factors {
                for (number, factor) in numbers.iter_mut().zip(factors) {
                    *number = _mm512_mul_ps(*number, _mm512_set1_ps(*factor));
                }
            }
            let mut sums = [_mm512_setzero_si512(); 4];
            for (sum, &x) in sums.iter_mut().zip(&numbers) {
                *sum = rounded::<DIRECTION>(steps, x);
            }
            // 4. Low halves, then low bytes, side by side: four vectors' codes in the bytes of one's lanes.
            let offset = steps.offset.wrapping_neg().cast_signed();
            let mut words = [_mm512_setzero_si512(); 2];
            for (i, words) in words.iter_mut().enumerate() {
                *words = select(_mm512_set1_epi32(0xffff), sums[i], _mm512_slli_epi32::<16>(sums[i + 2]));
                *words = match DIRECTION {
                    // Half units, rounded up to whole ones.
                    direction::TIES_TO_AWAY => {
                        _mm512_avg_epu16(*words, _mm512_set1_epi16(offset.wrapping_mul(2)))
                    }
                    direction::TO_ODD => *words,
                    _ => _mm512_add_epi16(*words, _mm512_set1_epi16(offset)),
                };
            }
            let bytes = select(_mm512_set1_epi16(0xff), words[0], _mm512_slli_epi16::<8>(words[1]));
            // 5. In each quarter, the four bytes of each vector together.
            let quarter = _mm_set_epi32(0x0f0b_0703, 0x0e0a_0602, 0x0d09_0501, 0x0c08_0400);
            let bytes = _mm512_shuffle_epi8(bytes, _mm512_broadcast_i32x4(quarter));
            // 6. There the signs are also, by saturation.
            let all = steps.magnitude_mask | steps.sign_bit;
            let signs = _mm512_packs_epi16(of_two(numbers[0], numbers[1]), of_two(numbers[2], numbers[3]));
            let signs = _mm512_srlv_epi16(signs, _mm512_set1_epi16(steps.sign_shift.cast_signed()));
            let signs = _mm512_and_si512(signs, _mm512_set1_epi8(steps.sign_bit.cast_signed()));
            let magnitudes = _mm512_set1_epi8(steps.magnitude_mask.cast_signed());
            let signed = match SIGN {
                sign::KEPT => or_of_and(bytes, magnitudes, signs),
                sign::NOT_OF_ZERO => {
                    let signs = _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(bytes, magnitudes), signs);
                    // (bytes & all) ^ signs: overflow to NaN has the sign bit by itself.
                    _mm512_ternarylogic_epi32::<0x6a>(bytes, _mm512_set1_epi8(all.cast_signed()), signs)
                }
                _ => _mm512_and_si512(bytes, magnitudes),
            };
            // 7. The quarters of each vector together.
            let order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
            let mut codes = _mm512_permutexvar_epi32(order, signed);
            if SIGN == sign::NONE {
                let mut negative = 0;
                for (i, &x) in numbers.iter().enumerate() {
                    let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps());
                    negative |= u64::from(below) << (i * FLOATS);
                }
                let nan = _mm512_set1_epi8(steps.nan.cast_signed());
                codes = _mm512_mask_mov_epi8(codes, negative, nan);
            }
            match N {
                BYTES => _mm512_storeu_si512(dst.as_mut_ptr().cast(), codes),
                PAIRS => {
                    // The first of two and sixteen times the second.
                    let pairs = _mm512_maddubs_epi16(codes, _mm512_set1_epi16(0x1001));
                    _mm256_storeu_si256(dst.as_mut_ptr().cast(), _mm512_cvtepi16_epi8(pairs));
                }
                _ => unreachable!("a byte for each or for two"),
            }
        }
    }

    /// A number plus the power of two whose unit in the last place is the format's there (half of it for ties away
    /// from zero), so that the adder rounds: the low bits of the sum count units and, above the mantissa, binades of
    /// float32.
    #[inline(always)]
    unsafe fn rounded<const DIRECTION: u8>(steps: &ByteSteps, x: __m512) -> __m512i {
        // Signs matter to the adder only where directions are up and down; elsewhere none is wanted.
        const ABS_MIN: i32 = 0b10;
        const ABS_MAX: i32 = 0b11;
        const NO_SIGN: i32 = 0b1000;
        // SAFETY: the callers vouch for the instructions.
        unsafe {
            // 1. What overflows becomes the number that overflow gives.
            let ceiling = _mm512_set1_ps(steps.ceiling);
            let clamped = match DIRECTION {
                direction::TOWARD_POSITIVE | direction::TOWARD_NEGATIVE => {
                    _mm512_range_ps::<ABS_MIN>(x, ceiling)
                }
                _ => _mm512_range_ps::<{ ABS_MIN | NO_SIGN }>(x, ceiling),
            };
            // 2. Sign and exponent field, that of the smallest normal number at least.
            let shift = if DIRECTION == direction::TIES_TO_AWAY { steps.shift - 1 } else { steps.shift };
            let field = _mm512_and_ps(clamped, _mm512_set1_ps(f32::from_bits(0xff80_0000)));
            let field =
                _mm512_castps_si512(_mm512_range_ps::<ABS_MAX>(field, _mm512_set1_ps(steps.min_normal)));
            // 3. The unit of that binade is 2^shift times smaller than the format's: so becomes the number.
            let binades = _mm512_srlv_epi32(field, _mm512_set1_epi32(shift.cast_signed()));
            let power = _mm512_add_epi32(field, binades);
            let unit = _mm512_set1_ps(f32::from_bits((127 - shift) << 23));
            macro_rules! toward {
                ($direction:ident, $power:expr) => {
                    _mm512_castps_si512(_mm512_fmadd_round_ps::<{ $direction | _MM_FROUND_NO_EXC }>(
                        clamped,
                        unit,
                        _mm512_castsi512_ps($power),
                    ))
                };
            }
            match DIRECTION {
                direction::TIES_TO_EVEN => toward!(_MM_FROUND_TO_NEAREST_INT, power),
                direction::TOWARD_POSITIVE => toward!(_MM_FROUND_TO_POS_INF, power),
                direction::TOWARD_NEGATIVE => toward!(_MM_FROUND_TO_NEG_INF, power),
                direction::TO_ODD => {
                    // An inexact number lies between two neighbours: the last bit of either is one.
                    let power = _mm512_sub_epi32(power, _mm512_set1_epi32(i32::from(steps.offset)));
                    let (down, up) =
                        (toward!(_MM_FROUND_TO_ZERO, power), toward!(_MM_FROUND_TO_POS_INF, power));
                    or_of_and(up, _mm512_set1_epi32(1), down)
                }
                _ => toward!(_MM_FROUND_TO_ZERO, power),
            }
        }
    }

    /// Two vectors' bits as words, of the same sign, in the order of [`_mm512_packs_epi32`].
    #[inline(always)]
    unsafe fn of_two(a: __m512, b: __m512) -> __m512i {
        // SAFETY: the callers vouch for the instructions.
        unsafe { _mm512_packs_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)) }
    }

    /// `a` where the mask has ones, `b` elsewhere.
    #[inline(always)]
    unsafe fn select(mask: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the callers vouch for the instructions.
        unsafe { _mm512_ternarylogic_epi32::<0xca>(mask, a, b) }
    }

    /// `(a & b) | c`.
    #[inline(always)]
    unsafe fn or_of_and(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        // SAFETY: the callers vouch for the instructions.
        unsafe { _mm512_ternarylogic_epi32::<0xea>(a, b, c) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{are_numbers, codes};
