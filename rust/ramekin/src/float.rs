//! What conversion needs of the machine's own floats, so that one body serves `f32` and `f64`, and of the
//! unsigned integers that hold codes.

use std::ops::{Add, BitAnd, BitOr, BitXor, Mul, Not, Shl, Shr, Sub};

/// The bits of a float, as an unsigned integer. Arithmetic wraps.
pub trait Bits:
    Copy
    + Ord
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Not<Output = Self>
    + Shl<u32, Output = Self>
    + Shr<u32, Output = Self>
{
    /// All zeros.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// All ones.
    const ONES: Self;
    /// Addition modulo 2^width.
    fn plus(self, other: Self) -> Self;
    /// Subtraction modulo 2^width.
    fn minus(self, other: Self) -> Self;
    /// Whether it is smaller, both read as two's complement.
    fn signed_less(self, other: Self) -> bool;
    /// Widens a code.
    fn from_u32(value: u32) -> Self;
    /// The low 32 bits.
    fn low_u32(self) -> u32;
    /// Sign-extends.
    fn from_i32(value: i32) -> Self;
    /// All bits.
    fn to_u64(self) -> u64;
    /// The low bits.
    fn from_u64(bits: u64) -> Self;
}

/// A binary float of the machine.
pub trait Float:
    Copy + PartialOrd + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Send + Sync + 'static
{
    /// Its bits.
    type Bits: Bits + Send + Sync;
    /// Width in bits.
    const WIDTH: u32;
    /// Width of the mantissa field.
    const MANTISSA_BITS: u32;
    /// Exponent bias.
    const BIAS: i32;
    /// The bits of +infinity.
    const INFINITY: Self::Bits;
    /// The bits of the positive canonical quiet NaN.
    const NAN: Self::Bits;
    /// Reinterprets as bits.
    fn bits(self) -> Self::Bits;
    /// Reinterprets bits.
    fn from_bits_of(bits: Self::Bits) -> Self;

    /// Rounds a float64 to nearest even; exact for `f64` itself.
    fn from_f64(value: f64) -> Self;
    /// Widens exactly.
    fn to_f64(self) -> f64;
    /// The slice itself if it is of `f32`.
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }

    /// The slice itself if this is `f32`.
    fn of_f32(_: &[f32]) -> Option<&[Self]> {
        None
    }
    /// The slice itself if this is `f64`.
    fn of_f64(_: &[f64]) -> Option<&[Self]> {
        None
    }
    /// The slice itself if it is of `f32`, to write.
    fn as_f32_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    /// 2^exponent, which must be a normal number of this type.
    #[inline(always)]
    fn power_of_two(exponent: i32) -> Self {
        debug_assert!((1 - Self::BIAS..=Self::BIAS).contains(&exponent));
        Self::from_bits_of(Self::Bits::from_i32(exponent + Self::BIAS) << Self::MANTISSA_BITS)
    }

    /// 2^exponent, subnormals included; zero below them.
    fn power_of_two_or_subnormal(exponent: i32) -> Self {
        let lowest = 1 - Self::BIAS - Self::MANTISSA_BITS as i32;
        if exponent > -Self::BIAS {
            Self::power_of_two(exponent)
        } else if exponent >= lowest {
            Self::from_bits_of(Self::Bits::ONE << (exponent - lowest) as u32)
        } else {
            Self::from_bits_of(Self::Bits::ZERO)
        }
    }
}

macro_rules! float {
    ($float:ty, $bits:ty, $width:literal, $mantissa:literal, $bias:literal $(, $method:item)*) => {
        impl Bits for $bits {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const ONES: Self = Self::MAX;
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn signed_less(self, other: Self) -> bool {
                self.cast_signed() < other.cast_signed()
            }
            #[inline(always)]
            fn from_u32(value: u32) -> Self {
                value as Self
            }
            #[inline(always)]
            fn low_u32(self) -> u32 {
                self as u32
            }
            #[inline(always)]
            fn from_i32(value: i32) -> Self {
                value as Self
            }
            #[inline(always)]
            fn to_u64(self) -> u64 {
                self as u64
            }
            #[inline(always)]
            fn from_u64(bits: u64) -> Self {
                bits as Self
            }
        }

        impl Float for $float {
            type Bits = $bits;
            const WIDTH: u32 = $width;
            const MANTISSA_BITS: u32 = $mantissa;
            const BIAS: i32 = $bias;
            const INFINITY: $bits = <$float>::INFINITY.to_bits();
            const NAN: $bits = <$float>::INFINITY.to_bits() | 1 << ($mantissa - 1);
            #[inline(always)]
            fn bits(self) -> $bits {
                self.to_bits()
            }
            #[inline(always)]
            fn from_bits_of(bits: $bits) -> Self {
                Self::from_bits(bits)
            }
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as Self
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            $($method)*
        }
    };
}

float!(
    f32,
    u32,
    32,
    23,
    127,
    fn as_f32(slice: &[f32]) -> Option<&[f32]> {
        Some(slice)
    },
    fn as_f32_mut(slice: &mut [f32]) -> Option<&mut [f32]> {
        Some(slice)
    },
    fn of_f32(slice: &[f32]) -> Option<&[f32]> {
        Some(slice)
    }
);
float!(
    f64,
    u64,
    64,
    52,
    1023,
    fn of_f64(slice: &[f64]) -> Option<&[f64]> {
        Some(slice)
    }
);

/// An unsigned integer that holds one code of a format.
pub trait Code: Copy + Default + Send + Sync + 'static {
    /// The slice itself if it is of `u8`, to write.
    fn as_u8(_: &mut [Self]) -> Option<&mut [u8]> {
        None
    }
    /// The slice itself if it is of `u16`, to write.
    fn as_u16(_: &mut [Self]) -> Option<&mut [u16]> {
        None
    }
    /// The slice itself if it is of `u8`.
    fn of_u8(_: &[Self]) -> Option<&[u8]> {
        None
    }
    /// The slice itself if it is of `u16`.
    fn of_u16(_: &[Self]) -> Option<&[u16]> {
        None
    }
    /// Width in bits.
    const WIDTH: u32;
    /// Keeps the low bits.
    fn truncate(bits: u32) -> Self;
    /// Widens.
    fn widen(self) -> u32;
}

macro_rules! code {
    ($($int:ty $({ $($method:item)* })?),*) => {$(
        impl Code for $int {
            const WIDTH: u32 = <$int>::BITS;
            $($($method)*)?
            #[inline(always)]
            fn truncate(bits: u32) -> Self {
                bits as Self
            }
            #[inline(always)]
            fn widen(self) -> u32 {
                self as u32
            }
        }
    )*};
}

code!(
    u8 {
        fn as_u8(slice: &mut [u8]) -> Option<&mut [u8]> {
            Some(slice)
        }
        fn of_u8(slice: &[u8]) -> Option<&[u8]> {
            Some(slice)
        }
    },
    u16 {
        fn of_u16(slice: &[u16]) -> Option<&[u16]> {
            Some(slice)
        }
        fn as_u16(slice: &mut [u16]) -> Option<&mut [u16]> {
            Some(slice)
        }
    },
    u32
);
