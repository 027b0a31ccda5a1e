//! Exact sums of exact products.
//!
//! The products of a block of at most [`DEPTH`] terms are multiples of some power of two and bounded by another. The
//! bits between these, as many as the elements of that block make necessary, are cut into *bins* of [`BIN`] bits. A
//! product is split into its parts in each bin, and those are added up in a float64 for each bin: an integer times
//! the bin's unit, below 2^53 of them, so that nothing is ever rounded. After the block the bins go into a
//! [`Superaccumulator`].

use super::chain::{multiply_add, values};
use super::rectangle::{DEPTH, Rule, Terms, WIDTH};
use super::superaccumulator::Superaccumulator;
use super::{canonical, lowest_exponent};
use crate::float::Float;
use crate::format::FloatFormat;
use crate::simd::Simd;

/// Bits of a bin. A part is at most `2^BIN` units, hence the sum of a block's parts at most 2^52 units.
const BIN: i32 = 44;
const _: () = assert!((DEPTH as u64) << BIN <= 1 << 52);

/// Exact sums of products of two formats.
pub(super) struct Exact {
    a: Range,
    b: Range,
}

/// What is known of an operand's elements.
struct Range {
    mantissa_bits: i32,
    /// The exponent of the smallest number that is not subnormal.
    lowest: i32,
}

impl Range {
    fn new(format: &FloatFormat) -> Self {
        Self { mantissa_bits: format.mantissa_bits as i32, lowest: lowest_exponent(format) }
    }

    /// Exponents of a power of two that all elements are multiples of, and of one above them all.
    #[inline(always)]
    fn bounds(&self, magnitudes: Magnitudes) -> Option<(i32, i32)> {
        let exponent = |bits: u32| ((bits >> 23) as i32 - 127).max(self.lowest);
        let (least, most) = magnitudes.ends()?;
        Some((exponent(least) - self.mantissa_bits, exponent(most) + 1))
    }
}

/// The least and the largest magnitudes met, but for zero, infinities and NaN, as bits of float32, in lanes.
#[derive(Clone, Copy)]
struct Magnitudes {
    /// Less one.
    least: [u32; WIDTH],
    most: [u32; WIDTH],
}

impl Magnitudes {
    #[inline(always)]
    fn none() -> Self {
        Self { least: [u32::MAX; WIDTH], most: [0; WIDTH] }
    }

    #[inline(always)]
    fn see(&mut self, bits: &[u32; WIDTH]) {
        for ((least, most), bits) in self.least.iter_mut().zip(&mut self.most).zip(bits) {
            let magnitude = bits & (u32::MAX >> 1);
            let finite = if magnitude < f32::INFINITY.to_bits() { magnitude } else { 0 };
            *least = (*least).min(finite.wrapping_sub(1));
            *most = (*most).max(finite);
        }
    }

    /// Of a row, whose length need not be a multiple of the lanes.
    #[inline(always)]
    fn see_row(&mut self, row: &[u32]) {
        let (lines, rest) = row.as_chunks::<WIDTH>();
        for line in lines {
            self.see(line);
        }
        let mut line = [0; WIDTH];
        line[..rest.len()].copy_from_slice(rest);
        self.see(&line);
    }

    /// The least and the largest.
    #[inline(always)]
    fn ends(self) -> Option<(u32, u32)> {
        let (mut least, mut most) = (u32::MAX, 0);
        for (l, m) in self.least.into_iter().zip(self.most) {
            least = least.min(l);
            most = most.max(m);
        }
        (most > 0).then_some((least.wrapping_add(1), most))
    }
}

impl Exact {
    pub fn new(a: &FloatFormat, b: &FloatFormat) -> Self {
        Self { a: Range::new(a), b: Range::new(b) }
    }

    /// Exponents of a power of two that all finite products are multiples of, and of one that none exceeds.
    #[inline(always)]
    fn bounds<const R: usize>(&self, terms: &Terms<'_, R>) -> (i32, i32) {
        let (mut a, mut b) = (Magnitudes::none(), Magnitudes::none());
        for row in terms.a {
            a.see_row(row);
        }
        for line in terms.b {
            b.see(line);
        }
        match (self.a.bounds(a), self.b.bounds(b)) {
            (Some((low_a, high_a)), Some((low_b, high_b))) => (low_a + low_b, high_a + high_b),
            // All products are zero, infinite or NaN.
            _ => (0, 0),
        }
    }
}

/// Adds the terms' products by `BINS` bins, of which the lowest has the unit `2^low`.
#[inline(always)]
fn add<S: Simd, const R: usize, const BINS: usize>(
    terms: Terms<'_, R>,
    low: i32,
    sums: &mut [[Superaccumulator; WIDTH]; R],
) {
    // Adding and subtracting 1.5 * 2^52 units rounds what is below 2^51 units to a multiple of one.
    let mut rounders = [0.0; BINS];
    for (bin, rounder) in rounders.iter_mut().enumerate() {
        *rounder = 1.5 * f64::power_of_two(low + BIN * bin as i32 + 52);
    }
    for (sums, a) in sums.iter_mut().zip(terms.a) {
        let mut bins = [[0.0f64; WIDTH]; BINS];
        for (line, &a) in terms.b.iter().zip(a) {
            let a = f64::from(f32::from_bits(a));
            let b = values(line);
            if BINS == 1 {
                for (bin, b) in bins[0].iter_mut().zip(b) {
                    *bin = multiply_add::<S>(a, b, *bin);
                }
                continue;
            }
            let mut rest = [0.0; WIDTH];
            for (rest, b) in rest.iter_mut().zip(b) {
                *rest = a * b;
            }
            for (bin, rounder) in bins.iter_mut().zip(rounders).skip(1).rev() {
                for (bin, rest) in bin.iter_mut().zip(&mut rest) {
                    let part = (*rest + rounder) - rounder;
                    *bin += part;
                    *rest -= part;
                }
            }
            for (bin, rest) in bins[0].iter_mut().zip(rest) {
                *bin += rest;
            }
        }
        for (bin, parts) in bins.iter().enumerate().rev() {
            let exponent = low + BIN * bin as i32;
            for (sum, &part) in sums.iter_mut().zip(parts) {
                if part.is_finite() {
                    if part != 0.0 {
                        sum.add((part * f64::power_of_two(-exponent)) as i64, exponent);
                    }
                } else if bin == BINS - 1 {
                    // The top bin's sum is what IEEE 754 makes of infinities and NaN; they leave NaN in the others.
                    sum.add_special(part);
                }
            }
        }
    }
}

impl Rule for Exact {
    type Sums = [Superaccumulator; WIDTH];
    const RECTANGLE: (usize, usize) = (32, 64);

    fn start(&self) -> Self::Sums {
        [Superaccumulator::ZERO; WIDTH]
    }

    #[inline(always)]
    fn extend<S: Simd, const R: usize>(&self, _: S, terms: Terms<'_, R>, sums: &mut [Self::Sums; R]) {
        let (low, high) = self.bounds(&terms);
        // More bins than necessary do no harm.
        match (high - low + BIN - 1) / BIN {
            ..=1 => add::<S, R, 1>(terms, low, sums),
            2 => add::<S, R, 2>(terms, low, sums),
            3 => add::<S, R, 3>(terms, low, sums),
            4..=6 => add::<S, R, 6>(terms, low, sums),
            _ => add::<S, R, 13>(terms, low, sums),
        }
    }

    fn finish(&self, sums: &Self::Sums) -> [f32; WIDTH] {
        sums.map(|sum| canonical(sum.to_odd() as f32))
    }
}
