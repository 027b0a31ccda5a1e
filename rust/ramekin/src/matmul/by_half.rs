//! Bytes decoded by way of float16.

use super::tile::DecodeLine;
use crate::format::{FloatFormat, Zero};
use crate::simd::{Simd, Widening};

/// Decoding by the CPU's own instruction for float16, for formats of up to 8 bits whose finite codes, widened, are
/// float16 codes of their values but for a power of two: subnormals too, since both count units below the smallest
/// normal number.
#[derive(Clone, Copy)]
pub(crate) struct ByHalf {
    pub widening: Widening,
    /// What a code's value is in units of the float16's.
    pub scale: f32,
    /// A code is not to be had so, being infinity or NaN, where `(code ^ flip) & mask` exceeds `limit`.
    flip: u8,
    mask: u8,
    limit: u8,
}

impl ByHalf {
    /// None for formats of which that is not true.
    #[inline(always)]
    pub fn new(format: &FloatFormat) -> Option<Self> {
        let top_field = format.max_code() >> format.mantissa_bits;
        // Both kinds of special codes are more than one comparison tells.
        let one_kind = format.zero != Zero::Unsigned || format.max_code() == format.magnitude_mask();
        let fits = format.bits() <= 8
            && format.signed
            && format.zero != Zero::None
            && one_kind
            && top_field < 31
            && format.exponent_bits <= 5
            && (-100..=100).contains(&format.bias);
        if !fits {
            return None;
        }
        let (magnitudes, sign) = (format.magnitude_mask() as u8, format.sign_bit() as u8);
        let left = 16 - format.bits();
        let right = 5 - format.exponent_bits;
        let (flip, mask, limit) = match format.zero {
            // The one special code is the sign alone, which the flip makes all ones.
            Zero::Unsigned => (magnitudes, magnitudes | sign, (magnitudes | sign) - 1),
            _ => (0, magnitudes, format.max_code() as u8),
        };
        Some(Self {
            widening: Widening { left, right, mask: 0x8000 | (u16::from(magnitudes) << (left - right)) },
            scale: f32::from_bits(((127 + 15 - format.bias) as u32) << 23),
            flip,
            mask,
            limit,
        })
    }

    /// Whether the scale can go to the other factor of every product: `x` stays finite, and exact.
    #[inline(always)]
    pub fn moves(&self, x: &[f32]) -> bool {
        self.scale >= 1.0 && x.iter().all(|x| x.abs() <= f32::MAX / self.scale)
    }

    /// Whether any of the codes is special.
    #[inline(always)]
    pub fn any_special(&self, codes: &[u8]) -> bool {
        let mut most = 0;
        for code in codes {
            most = most.max((code ^ self.flip) & self.mask);
        }
        most > self.limit
    }
}

/// Codes that [`ByHalf`] suits.
pub(super) struct Widened<S> {
    pub simd: S,
    pub by_half: ByHalf,
    /// Whether a special code was met.
    pub special: bool,
}

impl<S: Simd> DecodeLine<u8> for Widened<S> {
    #[inline(always)]
    fn decode(&mut self, codes: &[u8], out: &mut [f32]) {
        self.special |= self.by_half.any_special(codes);
        let step = 2 * S::LANES;
        let scale = self.simd.splat(self.by_half.scale);
        let whole = codes.len() / step * step;
        // SAFETY: `step` elements from i on exist in both; the rest goes through arrays of the most that it can be.
        unsafe {
            for i in (0..whole).step_by(step) {
                let [low, high] = self.simd.widened_values(codes.as_ptr().add(i), self.by_half.widening);
                self.simd.store(out.as_mut_ptr().add(i), self.simd.mul(low, scale));
                self.simd.store(out.as_mut_ptr().add(i + S::LANES), self.simd.mul(high, scale));
            }
            if whole < codes.len() {
                let (mut rest, mut values) = ([0u8; 32], [0.0f32; 32]);
                rest[..codes.len() - whole].copy_from_slice(&codes[whole..]);
                let [low, high] = self.simd.widened_values(rest.as_ptr(), self.by_half.widening);
                self.simd.store(values.as_mut_ptr(), self.simd.mul(low, scale));
                self.simd.store(values.as_mut_ptr().add(S::LANES), self.simd.mul(high, scale));
                out[whole..].copy_from_slice(&values[..codes.len() - whole]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::NAMED;

    #[test]
    fn which_formats_go_by_float16() {
        let names: Vec<_> = NAMED.iter().filter(|f| ByHalf::new(f).is_some()).map(|f| &*f.name).collect();
        let others: Vec<_> =
            NAMED.iter().filter(|f| f.bits() <= 8 && !names.contains(&&*f.name)).map(|f| &*f.name).collect();
        // The first has finite numbers where float16 has infinity, the second no sign.
        assert_eq!(others, ["float8_e5m2fnuz", "float8_e8m0fnu"]);
        let p3109 = |extended| FloatFormat::p3109(8, 4, true, extended).unwrap();
        assert!(ByHalf::new(&p3109(false)).is_some() && ByHalf::new(&p3109(true)).is_none());
    }
}
