//! Scales that are powers of two, from the bits of the largest magnitudes.

use super::scale::ScaleRounding;
use crate::convert::decode;
use crate::float::{Bits, Float};
use crate::format::FloatFormat;
use crate::isa::{Kernel, Level};
use crate::simd::Simd;

/// What the rules need to know of an element's format.
#[derive(Clone, Copy)]
pub(super) struct ElementPlan {
    /// The largest number, which every format of up to 16 bits has in float32.
    pub max: f32,
    emax: i32,
    mantissa_bits: u32,
    /// The fraction of the largest number, as a float64's.
    max_fraction: u64,
}

const FRACTION: u64 = (1 << f64::MANTISSA_BITS) - 1;

impl ElementPlan {
    pub fn new(format: &FloatFormat) -> Self {
        let mut max = [0.0f64];
        decode(Level::Portable, format, &[format.max_code()], &mut max);
        Self {
            max: max[0] as f32,
            emax: format.max_exponent(),
            mantissa_bits: format.mantissa_bits,
            max_fraction: max[0].to_bits() & FRACTION,
        }
    }

    pub fn rounded(&self, rounding: ScaleRounding) -> ExponentPlan {
        let half_unit = 1 << (f64::MANTISSA_BITS - self.mantissa_bits - 1);
        let (add, above) = match rounding {
            ScaleRounding::Floor => (0, FRACTION),
            ScaleRounding::Ceil => (0, 0),
            ScaleRounding::Even => (half_unit, FRACTION),
            ScaleRounding::Rceil => (0, self.max_fraction),
        };
        ExponentPlan { add, above, bias: f64::BIAS + self.emax }
    }
}

/// The exponent of a scale that is a power of two, in steps that are the same for every rounding.
#[derive(Clone, Copy)]
pub(super) struct ExponentPlan {
    /// What is added to the bits of the largest magnitude.
    add: u64,
    /// A larger fraction raises the exponent by one.
    above: u64,
    bias: i32,
}

/// The largest and the smallest exponent of E8M0.
const EXPONENT: i32 = 127;

impl ExponentPlan {
    /// In float64 every float32 is a normal number, and what is subnormal has the smallest exponent anyway.
    #[inline(always)]
    fn exponent(&self, amax: f64) -> i32 {
        let bits = amax.to_bits() + self.add;
        let above = i32::from(bits & FRACTION > self.above);
        ((bits >> f64::MANTISSA_BITS) as i32 + above - self.bias).clamp(-EXPONENT, EXPONENT)
    }

    /// What a block with this largest magnitude is multiplied by, and the code of its scale in E8M0: all ones where
    /// there is NaN or infinity.
    #[inline(always)]
    pub fn factor_and_code<F: Float>(&self, most: F::Bits) -> (F, u8) {
        let finite = most < F::INFINITY;
        let exponent = self.exponent(F::from_bits_of(most).to_f64());
        let (inverse, zero) = (inverse_power(exponent), F::from_bits_of(F::Bits::ZERO));
        if finite { (inverse, (exponent + EXPONENT) as u8) } else { (zero, u8::MAX) }
    }
}

/// `2^-exponent`, for exponents of E8M0.
#[inline(always)]
fn inverse_power<F: Float>(exponent: i32) -> F {
    F::from_f64(f64::from_bits(((f64::BIAS - exponent) as u64) << f64::MANTISSA_BITS))
}

/// Codes of E8M0.
pub(super) struct Exponents<'a, F: Float> {
    pub plan: ExponentPlan,
    pub most: &'a [F::Bits],
    pub factors: &'a mut [F],
    pub codes: &'a mut [u8],
}

impl<F: Float> Kernel for Exponents<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let plan = self.plan;
        for ((&most, factor), code) in self.most.iter().zip(self.factors).zip(self.codes) {
            (*factor, *code) = plan.factor_and_code(most);
        }
    }
}

/// What a float32 scale is and what elements are multiplied by, where the largest magnitude is zero, infinite or NaN:
/// nothing is scaled, and NaN that elements do not have comes to the scale.
#[inline(always)]
pub(super) fn unless_special<F: Float>(most: F::Bits, has_nan: bool, (scale, factor): (f32, F)) -> (f32, F) {
    let zero = F::Bits::ZERO;
    let special = most == zero || most >= F::INFINITY;
    let none = most > F::INFINITY && !has_nan;
    let one = F::from_f64(1.0);
    let (scale, factor) = if special { (1.0, one) } else { (scale, factor) };
    if none { (f32::NAN, F::from_bits_of(zero)) } else { (scale, factor) }
}

/// Powers of two as float32.
pub(super) struct Powers<'a, F: Float> {
    pub plan: ExponentPlan,
    pub has_nan: bool,
    pub most: &'a [F::Bits],
    pub factors: &'a mut [F],
    pub scales: &'a mut [f32],
}

impl<F: Float> Kernel for Powers<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((&most, factor), scale) in self.most.iter().zip(self.factors).zip(self.scales) {
            let exponent = self.plan.exponent(F::from_bits_of(most).to_f64());
            let scaled = (inverse_power::<f32>(-exponent), inverse_power::<F>(exponent));
            (*scale, *factor) = unless_special::<F>(most, self.has_nan, scaled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_at_powers_of_two_and_their_neighbours() {
        let e4m3 = ElementPlan::new(FloatFormat::named("float8_e4m3fn").unwrap());
        let exponent = |rounding, x: f32| e4m3.rounded(rounding).exponent(f64::from(x));
        let below = |x: f32| f32::from_bits(x.to_bits() - 1);
        let above = |x: f32| f32::from_bits(x.to_bits() + 1);
        use ScaleRounding::{Ceil, Even, Floor, Rceil};
        for (rounding, x, right) in [
            (Floor, 1.0, -8),
            (Floor, below(1.0), -9),
            (Floor, 448.0, 0),
            (Ceil, 1.0, -8),
            (Ceil, above(1.0), -7),
            (Ceil, below(1.0), -8),
            // With three mantissa bits 1.9375 lies half-way to 2.
            (Even, 1.9375, -7),
            (Even, below(1.9375), -8),
            (Rceil, 448.0, 0),
            (Rceil, above(448.0), 1),
            (Rceil, below(448.0), 0),
            (Rceil, 256.0, 0),
            (Floor, f32::MAX, 119),
            (Even, f32::MAX, 120),
            (Floor, 0.0, -127),
            (Ceil, f32::from_bits(1), -127),
        ] {
            assert_eq!(exponent(rounding, x), right, "{rounding:?} {x:e}");
        }
    }
}
