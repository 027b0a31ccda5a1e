//! Conversion between floats and the codes of a format.
//!
//! [`encode`](fn@encode) rounds `f32` or `f64` to codes, [`decode`](fn@decode) gives codes their exact values,
//! [`round_to`] does both in registers. All three are loops over one scalar definition each, compiled per
//! instruction-set level.

mod decode;
mod encode;
pub mod pack;
mod round;
mod source;

pub use decode::decode;
pub(crate) use decode::{DecodePlan, decode_slice};
pub use encode::encode;
pub use round::round_to;
pub use source::{Exact, encode_codes, encode_integers};

pub use crate::float::{Code, Float};
use crate::format::FloatFormat;
use crate::random::Words;

/// How a value that is not in the format becomes one that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conversion {
    /// The direction of rounding.
    pub rounding: crate::Rounding,
    /// Whether overflow and infinity give the largest finite number (OCP's saturating conversion) instead of
    /// infinity or NaN.
    pub saturate: bool,
    /// The words of stochastic rounding: element `i` of the slice takes the word at this place plus `i`.
    pub words: Words,
}

impl Conversion {
    /// The same conversion for a slice that starts `elements` further on.
    #[must_use]
    pub fn after(self, elements: usize) -> Self {
        Self { words: self.words.after(elements), ..self }
    }
}

/// Whether every step of a conversion between `F` and the format works in `F`: the format's numbers are numbers
/// of `F`, subnormals of `F` only where the exponent fields are the same.
pub(crate) fn fits<F: Float>(format: &FloatFormat) -> bool {
    format.bias <= F::BIAS
        && format.mantissa_bits < F::MANTISSA_BITS
        && (format.max_code() >> format.mantissa_bits) as i32 <= 2 * F::BIAS
        && format.max_exponent() <= F::BIAS
}

/// Elements that pass through a buffer at a time where a conversion has two steps.
const CHUNK: usize = 1024;

/// Expands `$body` with `$shape` bound to the constant of [`shape`] that fits the format, so that each
/// family of special values gets its own loop.
macro_rules! with_shape {
    ($format:expr, $truncated:expr, $shape:ident => $body:expr) => {
        match $format.zero {
            crate::format::Zero::None => {
                const $shape: u8 = crate::convert::shape::POWER_OF_TWO;
                $body
            }
            crate::format::Zero::Unsigned if $format.signed => {
                const $shape: u8 = crate::convert::shape::UNSIGNED_ZERO;
                $body
            }
            _ if !$format.signed => {
                const $shape: u8 = crate::convert::shape::UNSIGNED;
                $body
            }
            _ if $truncated => {
                const $shape: u8 = crate::convert::shape::TRUNCATED;
                $body
            }
            _ => {
                const $shape: u8 = crate::convert::shape::SIGNED_ZERO;
                $body
            }
        }
    };
}
pub(crate) use with_shape;

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
}
