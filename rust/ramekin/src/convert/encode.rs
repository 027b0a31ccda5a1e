//! Machine floats to codes, rounded once.

use super::{Conversion, shape, with_shape};
use crate::float::{Bits, Code, Float};
use crate::format::FloatFormat;
use crate::isa::{Kernel, Level};
use crate::rounding::Rounding;
use crate::simd::Simd;

/// Families of rounding directions whose steps differ.
pub(super) mod direction {
    pub const TIES_TO_EVEN: u8 = 0;
    pub const TIES_TO_AWAY: u8 = 1;
    /// Toward zero or away from it, by the sign.
    pub const DIRECTED: u8 = 2;
    pub const TO_ODD: u8 = 3;
}

/// The loop-invariant numbers of a conversion from `F` to a format.
#[derive(Clone, Copy)]
pub(super) struct EncodePlan<F: Float> {
    /// How many mantissa bits go.
    shift: u32,
    /// What lies below half a unit in the last place: `2^(shift - 1) - 1`.
    below_half: F::Bits,
    /// The bits that go.
    dropped: F::Bits,
    /// What takes the exponent field of the machine float, already shifted, to that of the format.
    rebias: F::Bits,
    /// The smallest normal number of the format, as bits of `F`.
    min_normal: F::Bits,
    /// A power of two whose unit in the last place is the format's subnormal spacing.
    magic: F,
    /// Half the subnormal spacing.
    half_spacing: F,
    /// Whether a directed rounding goes away from zero, as a mask, by sign.
    away_if_positive: F::Bits,
    away_if_negative: F::Bits,
    max_code: F::Bits,
    /// What overflow gives.
    limit: F::Bits,
    nan: F::Bits,
    sign_shift: u32,
    sign_bit: F::Bits,
    magnitude_mask: F::Bits,
}

impl<F: Float> EncodePlan<F> {
    pub(super) fn new(format: &FloatFormat, options: Conversion) -> Self {
        let code = F::Bits::from_u32;
        let shift = F::MANTISSA_BITS - format.mantissa_bits;
        let min_exponent = format.min_exponent();
        let spacing = min_exponent - format.mantissa_bits as i32;
        let mask = |on: bool| if on { F::Bits::ONES } else { F::Bits::ZERO };
        let max_code = format.max_code();
        Self {
            shift,
            below_half: ((F::Bits::ONE << shift) >> 1).minus(F::Bits::ONE),
            dropped: (F::Bits::ONE << shift).minus(F::Bits::ONE),
            rebias: F::Bits::from_i32(F::BIAS - format.bias) << format.mantissa_bits,
            min_normal: F::power_of_two(min_exponent).bits(),
            // Not read where the format's exponent field is F's own; clamped there to stay a normal number.
            magic: F::power_of_two((spacing + F::MANTISSA_BITS as i32).max(1 - F::BIAS)),
            half_spacing: F::power_of_two_or_subnormal(spacing - 1),
            away_if_positive: mask(options.rounding == Rounding::TowardPositive),
            away_if_negative: mask(options.rounding == Rounding::TowardNegative),
            max_code: code(max_code),
            limit: code(if options.saturate { max_code } else { format.overflow_code() }),
            // A format without NaN gives what ml_dtypes gives: zero of the other sign.
            nan: code(format.nan_code().unwrap_or(format.sign_bit())),
            sign_shift: F::WIDTH - format.bits(),
            sign_bit: code(format.sign_bit()),
            magnitude_mask: code(format.magnitude_mask()),
        }
    }
}

/// The definition: one machine float to one code.
#[inline(always)]
pub(super) fn encode_one<F: Float, const SHAPE: u8, const DIRECTION: u8>(p: &EncodePlan<F>, x: F) -> u32 {
    let (zero, one) = (F::Bits::ZERO, F::Bits::ONE);
    let bits = x.bits();
    let magnitude = bits & (F::Bits::ONES >> 1);
    let negative = bits > (F::Bits::ONES >> 1);
    // For directed rounding: all ones where the magnitude rounds up.
    let away = if negative { p.away_if_negative } else { p.away_if_positive };

    // 1. Normal results. Below the last kept bit add what makes truncation round; a carry runs into the
    //    exponent, which is what it should do. Then move the exponent field to the format's bias.
    let kept = magnitude >> p.shift;
    let increment = match DIRECTION {
        // For a format without mantissa the last significand bit is the leading one, hence always one.
        direction::TIES_TO_EVEN if SHAPE == shape::POWER_OF_TWO => p.below_half.plus(one),
        direction::TIES_TO_EVEN => p.below_half.plus(kept & one),
        direction::TIES_TO_AWAY => p.below_half.plus(one),
        direction::DIRECTED => p.dropped & away,
        _ => zero,
    };
    let mut code = (magnitude.plus(increment) >> p.shift).minus(p.rebias);
    if DIRECTION == direction::TO_ODD && magnitude & p.dropped != zero {
        code = code | one;
    }

    // 2. Subnormal results. Adding a number whose unit in the last place is the subnormal spacing lets the
    //    adder round (to nearest even); the low bits of the sum are the code. What the adder lost is exact in
    //    `rounded - exact`, and turns its answer into that of the other directions.
    if SHAPE == shape::POWER_OF_TWO {
        // Code 0 is 2^-127; above it and below 2^-126, to nearest goes up, as in ml_dtypes: there code 0 is
        // taken for a zero, half-way to which lies 2^-127 itself.
        let up = match DIRECTION {
            direction::DIRECTED => away != zero,
            _ => true,
        };
        let subnormal = if up && magnitude > p.half_spacing.bits() { one } else { zero };
        code = if magnitude < p.min_normal { subnormal } else { code };
    } else if SHAPE != shape::TRUNCATED {
        let exact = F::from_bits_of(magnitude);
        let sum = exact + p.magic;
        let rounded = sum - p.magic;
        let nearest = sum.bits().minus(p.magic.bits());
        let subnormal = match DIRECTION {
            direction::TIES_TO_EVEN => nearest,
            direction::TIES_TO_AWAY => {
                nearest.plus(if exact - rounded == p.half_spacing { one } else { zero })
            }
            direction::DIRECTED => {
                let up = if rounded < exact { one & away } else { zero };
                let down = if rounded > exact { one & !away } else { zero };
                nearest.plus(up).minus(down)
            }
            _ => {
                let down = if rounded > exact { one } else { zero };
                let inexact = if rounded != exact { one } else { zero };
                nearest.minus(down) | inexact
            }
        };
        code = if magnitude < p.min_normal { subnormal } else { code };
    }

    // 3. Overflow, judged after rounding. Every overflow code is the one above the largest finite or, for
    //    formats without specials, that itself; so the smaller of the two is right. Directions that round
    //    toward zero stop at the largest finite unless the input was infinite.
    code = match DIRECTION {
        direction::TIES_TO_EVEN | direction::TIES_TO_AWAY => code.min(p.limit),
        _ => {
            let top = if away != zero { p.limit } else { p.max_code };
            if magnitude == F::INFINITY { p.limit } else { code.min(top) }
        }
    };

    // 4. NaN and the sign.
    if SHAPE == shape::POWER_OF_TWO {
        // Zero, negative numbers and NaN have no code: one unsigned comparison finds them all.
        code = if bits.minus(one) >= F::INFINITY { p.nan } else { code };
        return code.low_u32();
    }
    code = if magnitude > F::INFINITY { p.nan } else { code };
    let sign = (bits >> p.sign_shift) & p.sign_bit;
    if SHAPE == shape::UNSIGNED_ZERO {
        let signless = code & p.magnitude_mask == zero;
        (code ^ if signless { zero } else { sign }).low_u32()
    } else {
        (code ^ sign).low_u32()
    }
}

/// Whether the format has F's own exponent field, so that its subnormals are F's, shortened.
pub(super) fn truncates<F: Float>(format: &FloatFormat) -> bool {
    format.bias == F::BIAS && format.mantissa_bits < F::MANTISSA_BITS && format.signed
}

/// Expands `$body` with `$direction` bound to the constant of [`direction`] that fits.
macro_rules! with_direction {
    ($rounding:expr, $direction:ident => $body:expr) => {
        match $rounding {
            Rounding::TiesToEven => {
                const $direction: u8 = direction::TIES_TO_EVEN;
                $body
            }
            Rounding::TiesToAway => {
                const $direction: u8 = direction::TIES_TO_AWAY;
                $body
            }
            Rounding::ToOdd => {
                const $direction: u8 = direction::TO_ODD;
                $body
            }
            Rounding::TowardZero | Rounding::TowardPositive | Rounding::TowardNegative => {
                const $direction: u8 = direction::DIRECTED;
                $body
            }
        }
    };
}
pub(super) use with_direction;

struct Encode<'a, F: Float, C, const SHAPE: u8, const DIRECTION: u8> {
    plan: EncodePlan<F>,
    src: &'a [F],
    dst: &'a mut [C],
}

impl<F: Float, C: Code, const SHAPE: u8, const DIRECTION: u8> Kernel for Encode<'_, F, C, SHAPE, DIRECTION> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        // A copy on the stack of its own: the stores below cannot alias it, so it stays in registers.
        let plan = self.plan;
        for (dst, &src) in self.dst.iter_mut().zip(self.src) {
            *dst = C::truncate(encode_one::<F, SHAPE, DIRECTION>(&plan, src));
        }
    }
}

/// Rounds `src` to codes of `format`.
///
/// # Panics
///
/// If the lengths differ, `C` is narrower than a code, or the CPU lacks `level`.
pub fn encode<F: Float, C: Code>(
    level: Level,
    format: &FloatFormat,
    options: Conversion,
    src: &[F],
    dst: &mut [C],
) {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    assert!(C::WIDTH >= format.bits(), "{format} does not fit {} bits", C::WIDTH);
    if format.mantissa_bits == F::MANTISSA_BITS {
        // Nothing to round: float32's code is its bits.
        assert_eq!((F::WIDTH, format.bits()), (32, 32), "no rounding from here to {format}");
        for (dst, &src) in dst.iter_mut().zip(src) {
            *dst = C::truncate(saturated(src, options.saturate).bits().low_u32());
        }
        return;
    }
    let plan = EncodePlan::<F>::new(format, options);
    with_shape!(format, truncates::<F>(format), SHAPE => with_direction!(options.rounding, DIRECTION => {
        level.run(Encode::<F, C, SHAPE, DIRECTION> { plan, src, dst });
    }));
}

/// The identity, but for infinity when it saturates and the payload of NaNs.
pub(super) fn saturated<F: Float>(x: F, saturate: bool) -> F {
    let magnitude = x.bits() & (F::Bits::ONES >> 1);
    let sign = x.bits() ^ magnitude;
    if magnitude > F::INFINITY {
        F::from_bits_of(F::NAN | sign)
    } else if saturate && magnitude == F::INFINITY {
        F::from_bits_of(F::INFINITY.minus(F::Bits::ONE) | sign)
    } else {
        x
    }
}
