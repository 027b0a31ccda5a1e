//! Conversion between floats and the codes of a format.
//!
//! [`encode`](fn@encode) rounds `f32` or `f64` to codes, [`decode`](fn@decode) gives codes their exact values,
//! [`round_to`] does both in registers. All three are loops over one scalar definition each, compiled per
//! instruction-set level.

mod decode;
mod encode;
mod round;

pub use decode::decode;
pub(crate) use decode::{DecodePlan, decode_slice};
pub use encode::encode;
pub use round::round_to;

pub use crate::float::{Code, Float};

/// How a value that is not in the format becomes one that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conversion {
    /// The direction of rounding.
    pub rounding: crate::Rounding,
    /// Whether overflow and infinity give the largest finite number (OCP's saturating conversion) instead of
    /// infinity or NaN.
    pub saturate: bool,
}

/// Expands `$body` with `$shape` bound to the constant of [`shape`] that fits the format, so that each
/// family of special values gets its own loop.
macro_rules! with_shape {
    ($format:expr, $truncated:expr, $shape:ident => $body:expr) => {
        match $format.zero {
            crate::format::Zero::None => {
                const $shape: u8 = crate::convert::shape::POWER_OF_TWO;
                $body
            }
            crate::format::Zero::Unsigned => {
                const $shape: u8 = crate::convert::shape::UNSIGNED_ZERO;
                $body
            }
            crate::format::Zero::Signed if $truncated => {
                const $shape: u8 = crate::convert::shape::TRUNCATED;
                $body
            }
            crate::format::Zero::Signed => {
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
}
