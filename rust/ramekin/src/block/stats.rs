//! What rounding did to some numbers, added up in float64.

use crate::isa::Kernel;
use crate::simd::Simd;

/// Sums over numbers `x` and what they became, `y`; those not finite on either side are only counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// The largest `|y - x|`.
    pub max_abs: f64,
    /// The largest `|y - x| / |x|` where `x` is not zero.
    pub max_rel: f64,
    /// The sum of `(y - x)^2`.
    pub error2: f64,
    /// The sum of `x^2`.
    pub x2: f64,
    /// The sum of `x y`.
    pub xy: f64,
    /// The sum of `y^2`.
    pub y2: f64,
    /// How many `x` exceed the largest number by more than half its unit in the last place.
    pub overflow: u64,
    /// How many `x` that are not zero became zero.
    pub underflow: u64,
    /// How many pairs are not finite on both sides.
    pub nonfinite: u64,
}

impl Sums {
    /// Those of other numbers too.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            max_abs: self.max_abs.max(other.max_abs),
            max_rel: self.max_rel.max(other.max_rel),
            error2: self.error2 + other.error2,
            x2: self.x2 + other.x2,
            xy: self.xy + other.xy,
            y2: self.y2 + other.y2,
            overflow: self.overflow + other.overflow,
            underflow: self.underflow + other.underflow,
            nonfinite: self.nonfinite + other.nonfinite,
        }
    }
}

/// Sums are kept in so many lanes, whatever the vectors are, so that they do not depend on them.
const LANES: usize = 8;

/// The sums over some numbers: every eighth one goes to the same lane, and lanes are added in ascending order.
pub(super) struct Sum<'a> {
    pub x: &'a [f64],
    pub y: &'a [f64],
    /// What overflows is larger in magnitude.
    pub largest: &'a [f64],
}

impl Kernel for Sum<'_> {
    type Output = Sums;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Sums {
        let mut lanes = [Sums::default(); LANES];
        let numbers = self.x.chunks(LANES).zip(self.y.chunks(LANES)).zip(self.largest.chunks(LANES));
        for ((x, y), largest) in numbers {
            for (((sums, &x), &y), &largest) in lanes.iter_mut().zip(x).zip(y).zip(largest) {
                add(sums, x, y, largest);
            }
        }
        let mut all = Sums::default();
        for sums in &lanes {
            all = all.and(sums);
        }
        all
    }
}

#[inline(always)]
fn add(sums: &mut Sums, x: f64, y: f64, largest: f64) {
    let finite = x.is_finite() & y.is_finite();
    sums.overflow += u64::from(x.is_finite() & (x.abs() > largest));
    sums.underflow += u64::from((x != 0.0) & (y == 0.0));
    sums.nonfinite += u64::from(!finite);
    let (x, y) = if finite { (x, y) } else { (0.0, 0.0) };
    let error = (y - x).abs();
    sums.max_abs = sums.max_abs.max(error);
    let relative = if x == 0.0 { 0.0 } else { error / x.abs() };
    sums.max_rel = sums.max_rel.max(relative);
    sums.error2 += error * error;
    sums.x2 += x * x;
    sums.xy += x * y;
    sums.y2 += y * y;
}
