//! Chains that round once for each term.

use super::canonical;
use super::promoted::Partial;
use super::rectangle::{Rule, Terms, WIDTH};
use crate::convert::Grid;
use crate::format::FloatFormat;
use crate::simd::{Simd, sum_to_odd};

/// Terms whose elements of A are widened at a time.
const PIECE: usize = 64;

/// Fused multiply-adds in float64.
pub(super) struct Float64;

/// `a * b + c`, rounded once, for `a` and `b` that are float32.
#[inline(always)]
pub(super) fn multiply_add<S: Simd>(a: f64, b: f64, c: f64) -> f64 {
    // The levels that have instructions for float16 have one for this. Elsewhere it would be a call to a library;
    // the product is exact, so that the sum is the one rounding either way.
    if S::HAS_FLOAT16 { a.mul_add(b, c) } else { a * b + c }
}

/// The values of a line of B.
#[inline(always)]
pub(super) fn values(line: &[u32; WIDTH]) -> [f64; WIDTH] {
    let mut values = [0.0; WIDTH];
    for (value, &bits) in values.iter_mut().zip(line) {
        *value = f64::from(f32::from_bits(bits));
    }
    values
}

/// Sums as float32.
#[inline(always)]
fn narrow(sums: &[f64; WIDTH]) -> [f32; WIDTH] {
    sums.map(|x| canonical(x as f32))
}

/// The chains after the terms of a piece.
#[inline(always)]
fn continued<S: Simd, const R: usize>(
    a: &[[f64; PIECE]; R],
    b: &[[u32; WIDTH]],
    mut chains: [[f64; WIDTH]; R],
) -> [[f64; WIDTH]; R] {
    for (k, line) in b.iter().enumerate().take(PIECE) {
        let b = values(line);
        for (chains, a) in chains.iter_mut().zip(a) {
            let a = a[k];
            for (c, b) in chains.iter_mut().zip(b) {
                *c = multiply_add::<S>(a, b, *c);
            }
        }
    }
    chains
}

impl Rule for Float64 {
    type Sums = [f64; WIDTH];
    const RECTANGLE: (usize, usize) = (96, 256);

    fn start(&self) -> [f64; WIDTH] {
        [0.0; WIDTH]
    }

    #[inline(always)]
    fn extend<S: Simd, const R: usize>(&self, _: S, terms: Terms<'_, R>, sums: &mut [[f64; WIDTH]; R]) {
        // Elements of A are widened together, and loaded into all lanes from there: one by one, that would take the
        // execution units that multiply.
        let mut a = [[0.0; PIECE]; R];
        for (i, b) in terms.b.chunks(PIECE).enumerate() {
            for (to, row) in a.iter_mut().zip(terms.a) {
                for (to, &bits) in to.iter_mut().zip(&row[i * PIECE..]) {
                    *to = f64::from(f32::from_bits(bits));
                }
            }
            *sums = continued::<S, R>(&a, b, *sums);
        }
    }

    fn finish(&self, sums: &[f64; WIDTH]) -> [f32; WIDTH] {
        narrow(sums)
    }
}

impl Partial for Float64 {
    type Totals = [f64; WIDTH];
    const NONE: [f64; WIDTH] = [0.0; WIDTH];

    #[inline(always)]
    fn add(totals: &[f64; WIDTH], sums: &[f64; WIDTH]) -> [f64; WIDTH] {
        let mut totals = *totals;
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total += sum;
        }
        totals
    }

    fn round(totals: &[f64; WIDTH]) -> [f32; WIDTH] {
        narrow(totals)
    }
}

/// Sums of product and running value, rounded to a small format.
pub(super) struct Rounded {
    grid: Grid,
}

impl Rounded {
    /// Of at most 51 bits of significand, as [`sum_to_odd`] asks.
    pub fn new(format: &FloatFormat) -> Self {
        Self { grid: Grid::new(format) }
    }
}

impl Rule for Rounded {
    type Sums = [f64; WIDTH];
    const RECTANGLE: (usize, usize) = (96, 256);

    fn start(&self) -> [f64; WIDTH] {
        [0.0; WIDTH]
    }

    #[inline(always)]
    fn extend<S: Simd, const R: usize>(&self, _: S, terms: Terms<'_, R>, sums: &mut [[f64; WIDTH]; R]) {
        let grid = self.grid;
        let mut chains = *sums;
        for (k, line) in terms.b.iter().enumerate() {
            let b = values(line);
            // Rows in turn: each step of a chain takes long, but other chains need not wait for it.
            for (chains, a) in chains.iter_mut().zip(terms.a) {
                let a = f64::from(f32::from_bits(a[k]));
                for (c, b) in chains.iter_mut().zip(b) {
                    // The product is exact.
                    *c = grid.nearest(sum_to_odd(a * b, *c));
                }
            }
        }
        *sums = chains;
    }

    fn finish(&self, sums: &[f64; WIDTH]) -> [f32; WIDTH] {
        narrow(sums)
    }
}

impl Partial for Rounded {
    type Totals = [f32; WIDTH];
    const NONE: [f32; WIDTH] = [0.0; WIDTH];

    #[inline(always)]
    fn add(totals: &[f32; WIDTH], sums: &[f64; WIDTH]) -> [f32; WIDTH] {
        let mut totals = *totals;
        for (total, &sum) in totals.iter_mut().zip(sums) {
            *total += sum as f32;
        }
        totals
    }

    fn round(totals: &[f32; WIDTH]) -> [f32; WIDTH] {
        totals.map(canonical)
    }
}
