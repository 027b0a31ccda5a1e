//! Steps of a tensor core: see [`TensorCore`].

use super::super::tensor_core::TensorCore;
use super::promoted::Partial;
use super::rectangle::{Rule, Terms, WIDTH};
use super::{canonical, lowest_exponent};
use crate::format::FloatFormat;
use crate::simd::Simd;

/// The sums of a [`TensorCore`], in float64: a step's terms are multiples of its unit below 2^53 of them, so that
/// float64 adds them up exactly.
pub(super) struct Fused {
    model: TensorCore,
    /// The exponents of subnormal elements.
    lowest: (i32, i32),
}

impl Fused {
    pub fn new(model: &TensorCore, a: &FloatFormat, b: &FloatFormat) -> Self {
        Self { model: *model, lowest: (lowest_exponent(a), lowest_exponent(b)) }
    }
}

// Nothing here overflows; operations that wrap are not checked for it in any build, and so vectorise in all.

/// What zeros have for an exponent: sums with it stay below [`FLOOR`].
const NONE: i32 = -1000;

/// The smallest exponent that terms are aligned to.
const FLOOR: i32 = -133;

/// The exponent of a float32, of which `lowest` is the smallest.
#[inline(always)]
fn exponent(bits: u32, lowest: i32) -> i32 {
    let exponent = ((bits >> 23 & 0xff) as i32).wrapping_sub(127).max(lowest);
    if bits << 1 == 0 { NONE } else { exponent }
}

/// Toward zero to a multiple of `2^(unit - 1075)`. Infinity and NaN stay.
#[inline(always)]
fn truncate(x: f64, unit: i64) -> f64 {
    let bits = x.to_bits();
    let below = unit.wrapping_sub((bits >> 52 & 0x7ff) as i64);
    let kept = if below > 52 { 1 << 63 } else { u64::MAX.wrapping_shl(below.max(0) as u32) };
    f64::from_bits(bits & kept)
}

impl Fused {
    /// The running values after a step.
    #[inline(always)]
    fn step(&self, a: &[u32], b: &[[u32; WIDTH]], sums: [f32; WIDTH]) -> [f32; WIDTH] {
        let mut largest = [FLOOR; WIDTH];
        for (largest, sum) in largest.iter_mut().zip(sums) {
            *largest = (*largest).max(exponent(sum.to_bits(), -126));
        }
        for (&a, b) in a.iter().zip(b) {
            let exponent_a = exponent(a, self.lowest.0);
            for (largest, &b) in largest.iter_mut().zip(b) {
                *largest = (*largest).max(exponent_a.wrapping_add(exponent(b, self.lowest.1)));
            }
        }
        let mut units = [0; WIDTH];
        let mut totals = [0.0; WIDTH];
        for (((unit, total), largest), sum) in units.iter_mut().zip(&mut totals).zip(largest).zip(sums) {
            *unit = i64::from(largest - self.model.fraction_bits() as i32 + 1075);
            // Added to +0: zeros lose their signs here.
            *total += truncate(f64::from(sum), *unit);
        }
        for (&a, b) in a.iter().zip(b) {
            let a = f64::from(f32::from_bits(a));
            for ((total, &unit), &b) in totals.iter_mut().zip(&units).zip(b) {
                *total += truncate(a * f64::from(f32::from_bits(b)), unit);
            }
        }
        let mut sums = sums;
        for (sum, total) in sums.iter_mut().zip(totals) {
            let field = (total.to_bits() >> 52 & 0x7ff) as i64;
            let unit = field.max(1023 - 126) + 52 - i64::from(self.model.mantissa_bits());
            // From 2^128 on, this gives infinity; below, it is exact.
            *sum = truncate(total, unit) as f32;
        }
        sums
    }
}

impl Rule for Fused {
    type Sums = [f32; WIDTH];
    const RECTANGLE: (usize, usize) = (96, 256);

    fn start(&self) -> [f32; WIDTH] {
        [0.0; WIDTH]
    }

    fn step(&self) -> usize {
        self.model.terms()
    }

    #[inline(always)]
    fn extend<S: Simd, const R: usize>(&self, _: S, terms: Terms<'_, R>, sums: &mut [[f32; WIDTH]; R]) {
        let step = self.model.terms();
        for (sums, a) in sums.iter_mut().zip(terms.a) {
            for (a, b) in a.chunks(step).zip(terms.b.chunks(step)) {
                *sums = Self::step(self, a, b, *sums);
            }
        }
    }

    fn finish(&self, sums: &[f32; WIDTH]) -> [f32; WIDTH] {
        sums.map(canonical)
    }
}

impl Partial for Fused {
    type Totals = [f32; WIDTH];
    const NONE: [f32; WIDTH] = [0.0; WIDTH];

    #[inline(always)]
    fn add(totals: &[f32; WIDTH], sums: &[f32; WIDTH]) -> [f32; WIDTH] {
        let mut totals = *totals;
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total += sum;
        }
        totals
    }

    fn round(totals: &[f32; WIDTH]) -> [f32; WIDTH] {
        totals.map(canonical)
    }
}
