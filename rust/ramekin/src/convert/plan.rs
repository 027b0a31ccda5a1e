//! The loop-invariant numbers of an encoding, and the families that need loops of their own.

use super::Conversion;
use crate::float::{Bits, Float};
use crate::format::FloatFormat;
use crate::rounding::direction;
use crate::simd::ByteSteps;

/// Families of formats whose codes need different steps.
pub(crate) mod shape {
    /// Signed zeros, own subnormals.
    pub const SIGNED_ZERO: u8 = 0;
    /// Signed zeros and the machine float's own exponent field: a shortened machine float.
    pub const TRUNCATED: u8 = 1;
    /// One zero; -0's code is NaN.
    pub const UNSIGNED_ZERO: u8 = 2;
    /// No zero, no sign, no mantissa (E8M0).
    pub const POWER_OF_TWO: u8 = 3;
    /// No sign; one zero.
    pub const UNSIGNED: u8 = 4;
    /// As [`UNSIGNED_ZERO`], and overflow gives that NaN: what is above infinity needs no step of its own.
    pub const NAN_OVERFLOW: u8 = 5;
    /// As [`SIGNED_ZERO`], where no NaN comes.
    pub const NUMBERS: u8 = 6;
}

/// Expands `$body` with `$shape` bound to the constant of [`shape`] that fits the format.
macro_rules! with_shape {
    ($format:expr, $truncated:expr, $overflow_is_nan:expr, $shape:ident => $body:expr) => {
        match $format.zero {
            crate::format::Zero::None => {
                const $shape: u8 = crate::convert::plan::shape::POWER_OF_TWO;
                $body
            }
            _ if !$format.signed => {
                const $shape: u8 = crate::convert::plan::shape::UNSIGNED;
                $body
            }
            crate::format::Zero::Unsigned if $overflow_is_nan => {
                const $shape: u8 = crate::convert::plan::shape::NAN_OVERFLOW;
                $body
            }
            crate::format::Zero::Unsigned => {
                const $shape: u8 = crate::convert::plan::shape::UNSIGNED_ZERO;
                $body
            }
            _ if $truncated => {
                const $shape: u8 = crate::convert::plan::shape::TRUNCATED;
                $body
            }
            _ => {
                const $shape: u8 = crate::convert::plan::shape::SIGNED_ZERO;
                $body
            }
        }
    };
}
pub(crate) use with_shape;

/// Expands `$body` with `$direction` bound to the constant of [`direction`] that fits.
macro_rules! with_direction {
    ($rounding:expr, $direction:ident => $body:expr) => {{
        use crate::rounding::{Rounding, direction};
        match $rounding {
            Rounding::TiesToEven => {
                const $direction: u8 = direction::TIES_TO_EVEN;
                $body
            }
            Rounding::TiesToAway => {
                const $direction: u8 = direction::TIES_TO_AWAY;
                $body
            }
            Rounding::TowardZero => {
                const $direction: u8 = direction::TOWARD_ZERO;
                $body
            }
            Rounding::TowardPositive => {
                const $direction: u8 = direction::TOWARD_POSITIVE;
                $body
            }
            Rounding::TowardNegative => {
                const $direction: u8 = direction::TOWARD_NEGATIVE;
                $body
            }
            Rounding::ToOdd => {
                const $direction: u8 = direction::TO_ODD;
                $body
            }
            Rounding::Stochastic => {
                const $direction: u8 = direction::STOCHASTIC;
                $body
            }
        }
    }};
}
pub(super) use with_direction;

/// Whether the format has F's own exponent field, so that its subnormals, infinities and NaNs are F's, shortened.
pub(super) fn truncates<F: Float>(format: &FloatFormat) -> bool {
    format.bias == F::BIAS
        && format.mantissa_bits < F::MANTISSA_BITS
        && format.signed
        && format.has_ieee_specials()
}

/// Whether every step of a conversion between `F` and the format works in `F`: the format's numbers are normal
/// numbers of `F`, with room for half a unit in the last place below and for the adder's constants above, or the
/// format is a shortened `F`.
pub(crate) fn fits<F: Float>(format: &FloatFormat) -> bool {
    let mantissa = format.mantissa_bits as i32;
    let within = (format.max_code() >> format.mantissa_bits) as i32 <= 2 * F::BIAS
        && format.max_exponent() <= F::BIAS
        && format.mantissa_bits < F::MANTISSA_BITS;
    let exempt = truncates::<F>(format) || format.zero == crate::format::Zero::None;
    let room = format.min_exponent() - mantissa > 1 - F::BIAS
        && format.max_exponent() + 1 + F::MANTISSA_BITS as i32 - mantissa <= F::BIAS;
    within && format.bias <= F::BIAS && (exempt || room)
}

/// The loop-invariant numbers of a conversion from `F` to a format.
#[derive(Clone, Copy)]
pub(crate) struct EncodePlan<F: Float> {
    /// How many mantissa bits go.
    pub shift: u32,
    /// What lies below half a unit in the last place: `2^(shift - 1) - 1`.
    pub below_half: F::Bits,
    /// The bits that go.
    pub dropped: F::Bits,
    /// What takes the exponent field of the machine float to that of the format.
    pub rebias: F::Bits,
    /// The smallest normal number of the format.
    pub min_normal: F::Bits,
    /// Takes an exponent field to the adder's constant, but for the code's own exponent: see `add_and_round`.
    pub to_magic: F::Bits,
    /// Takes an exponent field to that of half a unit in the last place, when subtracted.
    pub to_half: F::Bits,
    /// The machine float of the code that overflow gives: larger magnitudes give it too.
    pub ceiling: F::Bits,
    /// The largest finite number.
    pub inward_ceiling: F::Bits,
    /// Where rounding goes toward zero or an infinity: what rounds to either of the two. Without a code of its own
    /// for overflow, they are one.
    pub directed_ceiling: F::Bits,
    /// One. The compiler does not know it, lest it makes two steps of one masked addition.
    pub one: F::Bits,
    /// The code of the largest finite number.
    pub max_code: F::Bits,
    /// The code that overflow and infinity give.
    pub limit: F::Bits,
    /// The code of a positive NaN.
    pub nan: F::Bits,
    pub sign_shift: u32,
    pub sign_bit: F::Bits,
    pub magnitude_mask: F::Bits,
    /// Half the subnormal spacing.
    pub half_spacing: F::Bits,
}

impl<F: Float> EncodePlan<F> {
    pub fn new(format: &FloatFormat, options: Conversion) -> Self {
        let code = F::Bits::from_u32;
        let one = F::Bits::ONE;
        let shift = F::MANTISSA_BITS - format.mantissa_bits;
        let min_normal = F::power_of_two(format.min_exponent()).bits();
        let rebias = F::Bits::from_i32(F::BIAS - format.bias) << F::MANTISSA_BITS;
        let max_code = format.max_code();
        let limit = if options.saturate { max_code } else { format.overflow_code() };
        let float_of = |normal: u32| (code(normal) << shift).plus(rebias);
        Self {
            shift,
            below_half: ((one << shift) >> 1).minus(one),
            dropped: (one << shift).minus(one),
            rebias,
            min_normal,
            // The exponent field grows by `shift`; below it half the mantissa's range, so that neither the code
            // nor a borrow reaches the exponent, less the exponent field that `add_and_round` adds for the
            // smallest normal number.
            to_magic: (F::Bits::from_u32(shift) << F::MANTISSA_BITS)
                .plus(one << (F::MANTISSA_BITS - 1))
                .minus(min_normal >> shift),
            to_half: F::Bits::from_u32(format.mantissa_bits + 1) << F::MANTISSA_BITS,
            ceiling: float_of(limit),
            inward_ceiling: float_of(max_code),
            directed_ceiling: float_of(limit).minus(if limit > max_code { one } else { F::Bits::ZERO }),
            one: std::hint::black_box(one),
            max_code: code(max_code),
            limit: code(limit),
            // A format without NaN gives what ml_dtypes gives: zero of the other sign.
            nan: code(format.nan_code().unwrap_or(format.sign_bit())),
            sign_shift: F::WIDTH - format.bits(),
            sign_bit: code(format.sign_bit()),
            magnitude_mask: code(format.magnitude_mask()),
            half_spacing: F::power_of_two_or_subnormal(
                format.min_exponent() - format.mantissa_bits as i32 - 1,
            )
            .bits(),
        }
    }
}

impl EncodePlan<f32> {
    /// The numbers for the steps of [`Simd::to_bytes`](crate::simd::Simd::to_bytes), where codes have no more than
    /// eight bits and a significand of more than one: else the smallest exponent may be odd, and with it the sum
    /// that an even code gives.
    pub fn byte_steps(&self, direction: u8) -> Option<ByteSteps> {
        let bits = 32 - self.sign_shift;
        let ceiling = match direction {
            direction::TIES_TO_EVEN | direction::TIES_TO_AWAY => self.ceiling,
            direction::TO_ODD => self.inward_ceiling,
            _ => self.directed_ceiling,
        };
        (bits <= 8 && self.shift < f32::MANTISSA_BITS).then(|| ByteSteps {
            ceiling: f32::from_bits(ceiling),
            min_normal: f32::from_bits(self.min_normal),
            shift: self.shift,
            offset: (self.min_normal >> self.shift) as u16,
            magnitude_mask: self.magnitude_mask as u8,
            sign_bit: self.sign_bit as u8,
            sign_shift: (8 - bits) as u16,
            nan: self.nan as u8,
        })
    }
}
