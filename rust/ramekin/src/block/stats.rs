//! What rounding did to some numbers, added up in float64.

use crate::float::Float;
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
    /// How many finite `x` exceed the largest number by more than half its unit in the last place.
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

/// Numbers whose terms are worked out before they are added.
const CHUNK: usize = 256;

/// The sums over a part of a row: of every 256 numbers, every eighth goes to the same lane, and lanes are added in
/// ascending order.
pub(super) struct Sum<'a, F, V> {
    pub x: &'a [F],
    /// What elements became, to be multiplied by the scales of their blocks.
    pub values: &'a [V],
    /// Columns of the first block that lie before, and of a block.
    pub first: usize,
    pub width: usize,
    pub scales: &'a [f64],
    /// What overflows is larger in magnitude, times the scale.
    pub largest: f64,
}

/// A chunk of numbers, what they became, and the scales of their blocks.
struct Chunk {
    x: [f64; CHUNK],
    y: [f64; CHUNK],
    scales: [f64; CHUNK],
}

impl<F: Float, V: Float> Kernel for Sum<'_, F, V> {
    type Output = Sums;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Sums {
        let mut all = Sums::default();
        let mut chunk = Chunk { x: [0.0; CHUNK], y: [0.0; CHUNK], scales: [0.0; CHUNK] };
        let (mut scales, mut left) = (self.scales, self.width - self.first);
        for (x, values) in self.x.chunks(CHUNK).zip(self.values.chunks(CHUNK)) {
            match (self.width, left) {
                // The common widths, so that the compiler knows them.
                (32, 32) => scales = chunk.spread::<32>(values.len(), scales),
                (16, 16) => scales = chunk.spread::<16>(values.len(), scales),
                _ => {
                    let mut done = 0;
                    while done < values.len() {
                        let here = done..done + left.min(values.len() - done);
                        (done, left) = (here.end, left - here.len());
                        chunk.scales[here].fill(scales[0]);
                        if left == 0 {
                            (scales, left) = (&scales[1..], self.width);
                        }
                    }
                }
            }
            for (to, x) in chunk.x.iter_mut().zip(x) {
                *to = x.to_f64();
            }
            for ((y, value), scale) in chunk.y.iter_mut().zip(values).zip(&chunk.scales) {
                *y = value.to_f64() * scale;
            }
            all = all.and(&chunk.sums(x.len(), self.largest, all.max_rel));
        }
        all
    }
}

impl Chunk {
    /// Gives `n` numbers the scales of their blocks, and returns those of the blocks that come after.
    #[inline(always)]
    fn spread<'a, const WIDTH: usize>(&mut self, n: usize, scales: &'a [f64]) -> &'a [f64] {
        let (here, after) = scales.split_at(n.div_ceil(WIDTH));
        let (blocks, _) = self.scales.as_chunks_mut::<WIDTH>();
        for (block, &scale) in blocks.iter_mut().zip(here) {
            *block = [scale; WIDTH];
        }
        after
    }

    /// The sums over the first `n`, given what overflows before scaling and the largest relative error so far.
    #[inline(always)]
    fn sums(&self, n: usize, largest: f64, max_rel: f64) -> Sums {
        let mut terms = [[0.0f64; CHUNK]; 5];
        let (x, y) = (&self.x[..n], &self.y[..n]);
        let [error, error2, x2, xy, y2] = &mut terms;
        let mut ratio = i64::MIN;
        for i in 0..n {
            let finite = x[i].is_finite() & y[i].is_finite();
            let (x, y) = if finite { (x[i], y[i]) } else { (0.0, 0.0) };
            error[i] = (y - x).abs();
            ratio = ratio.max(rough_ratio(error[i], x));
            error2[i] = error[i] * error[i];
            x2[i] = x * x;
            xy[i] = x * y;
            y2[i] = y * y;
        }
        let (mut overflow, mut underflow, mut nonfinite) = (0u64, 0u64, 0u64);
        for ((&x, &y), &scale) in x.iter().zip(y).zip(&self.scales) {
            overflow += u64::from((x.abs() > largest * scale) & x.is_finite());
            underflow += u64::from((x != 0.0) & (y == 0.0));
            nonfinite += u64::from(!(x.is_finite() & y.is_finite()));
        }
        Sums {
            max_abs: largest_of(&error[..n]),
            max_rel: if may_exceed(ratio, max_rel) { largest_ratio(&error[..n], x, y) } else { 0.0 },
            error2: sum_of(&error2[..n]),
            x2: sum_of(&x2[..n]),
            xy: sum_of(&xy[..n]),
            y2: sum_of(&y2[..n]),
            overflow,
            underflow,
            nonfinite,
        }
    }
}

/// The largest of numbers that are not negative, nor NaN: their bits are in the same order.
#[inline(always)]
fn largest_of(numbers: &[f64]) -> f64 {
    let mut most = 0;
    for x in numbers {
        most = most.max(x.to_bits());
    }
    f64::from_bits(most)
}

/// The bits of a float64 are its logarithm, in units of 2^-52, but for less than this.
const ROUGH: i64 = (0.0861 * (1u64 << 52) as f64) as i64 + 1;

/// The logarithm of `|error / x|`, in those units, or more: divisions cost more than all else here.
#[inline(always)]
fn rough_ratio(error: f64, x: f64) -> i64 {
    let (error, x) = (error.to_bits() as i64, x.abs().to_bits() as i64);
    // Of subnormal numbers the bits say little.
    if x < 1 << 52 { if x == 0 { i64::MIN } else { i64::MAX } } else { error - x + ROUGH }
}

/// Whether a ratio whose rough logarithm this is may be larger than `most`.
#[inline(always)]
fn may_exceed(ratio: i64, most: f64) -> bool {
    most == 0.0 || ratio > most.to_bits() as i64 - 1f64.to_bits() as i64
}

/// The largest relative error of the pairs that are finite.
#[inline(always)]
fn largest_ratio(error: &[f64], x: &[f64], y: &[f64]) -> f64 {
    let mut most = 0;
    for ((&error, &x), &y) in error.iter().zip(x).zip(y) {
        let counts = (x != 0.0) & x.is_finite() & y.is_finite();
        let ratio = if counts { error / x.abs() } else { 0.0 };
        most = most.max(ratio.to_bits());
    }
    f64::from_bits(most)
}

#[inline(always)]
fn sum_of(terms: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (whole, rest) = terms.as_chunks::<LANES>();
    for terms in whole {
        for (lane, term) in lanes.iter_mut().zip(terms) {
            *lane += term;
        }
    }
    for (lane, term) in lanes.iter_mut().zip(rest) {
        *lane += term;
    }
    let mut sum = 0.0;
    for lane in lanes {
        sum += lane;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Level;

    /// The largest relative error is found, whatever the rough logarithms say.
    #[test]
    fn the_largest_ratio_is_exact() {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        for round in 0..200 {
            let n = 1000;
            let x: Vec<f64> = (0..n)
                .map(|i| match i % 11 {
                    0 => 0.0,
                    1 => f64::NAN,
                    2 if round % 2 == 0 => f64::from_bits((random() * 1e15) as u64),
                    _ => (random() - 0.5) * (random() * 60.0 - 30.0).exp2(),
                })
                .collect();
            let off = 0.9 + 0.2 * random();
            let y: Vec<f64> = x.iter().map(|x| x * (off + random() * 1e-3 * off)).collect();
            let right = x.iter().zip(&y).fold(0.0f64, |most, (x, y)| {
                if *x == 0.0 || !x.is_finite() { most } else { most.max((y - x).abs() / x.abs()) }
            });
            for level in Level::available() {
                let sums = level.run(Sum {
                    x: &x,
                    values: &y,
                    first: 3,
                    width: 77,
                    scales: &[1.0; 14],
                    largest: f64::INFINITY,
                });
                assert_eq!(sums.max_rel, right, "{level}");
                assert_eq!(sums.nonfinite, 91, "{level}");
            }
        }
    }
}
