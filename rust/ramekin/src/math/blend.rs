//! Float32's own additions and multiplications of whole arrays: factors, biases, dropout. NumPy's have the same bits
//! where nothing is NaN and the floating-point environment is the default one; these always do.

use std::sync::atomic::{AtomicBool, Ordering};

use super::map::one_nan;
use crate::isa::{Kernel, Level};
use crate::parallel::{self, ThreadsError};
use crate::random;
use crate::simd::Simd;

/// Elements that one thread works through before it takes more; blocks of random words divide it.
const CHUNK: usize = 1 << 15;

const INFINITY: u32 = 0x7f80_0000;

#[inline(always)]
fn magnitude(x: f32) -> u32 {
    x.to_bits() & 0x7fff_ffff
}

struct Scale<'a> {
    x: &'a mut [f32],
    factor: f64,
}

impl Kernel for Scale<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        let factor = self.factor as f32;
        let mut largest = 0;
        for x in self.x {
            *x = one_nan(*x * factor);
            largest = largest.max(magnitude(*x));
        }
        largest < INFINITY
    }
}

struct Finite<'a>(&'a [f32]);

impl Kernel for Finite<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        let mut largest = 0;
        for &x in self.0 {
            largest = largest.max(magnitude(x));
        }
        largest < INFINITY
    }
}

/// Multiplies all elements by a factor, itself rounded to float32, and tells whether all products are finite.
///
/// # Errors
///
/// If there can be no pool.
///
/// # Panics
///
/// If the CPU lacks `level`.
pub fn scale(level: Level, x: &mut [f32], factor: f64) -> Result<bool, ThreadsError> {
    let (finite, count) = (AtomicBool::new(true), x.len().div_ceil(CHUNK));
    parallel::share(x.chunks_mut(CHUNK), count, |x| {
        finite.fetch_and(level.run(Scale { x, factor }), Ordering::Relaxed);
    })?;
    Ok(finite.into_inner())
}

/// Tells whether all elements are finite.
///
/// # Errors
///
/// As [`scale`].
///
/// # Panics
///
/// As [`scale`].
pub fn all_finite(level: Level, x: &[f32]) -> Result<bool, ThreadsError> {
    let (finite, count) = (AtomicBool::new(true), x.len().div_ceil(CHUNK));
    parallel::share(x.chunks(CHUNK), count, |x| {
        // What is known need not be looked for.
        if finite.load(Ordering::Relaxed) {
            finite.fetch_and(level.run(Finite(x)), Ordering::Relaxed);
        }
    })?;
    Ok(finite.into_inner())
}

struct Add<'a> {
    x: &'a [f32],
    y: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((out, &x), &y) in self.out.iter_mut().zip(self.x).zip(self.y) {
            *out = one_nan(x + y);
        }
    }
}

/// Writes `x + y` to `out`.
///
/// # Errors
///
/// As [`scale`].
///
/// # Panics
///
/// If the lengths differ or the CPU lacks `level`.
pub fn add(level: Level, x: &[f32], y: &[f32], out: &mut [f32]) -> Result<(), ThreadsError> {
    assert!(x.len() == y.len() && x.len() == out.len(), "the lengths differ");
    let parts = x.chunks(CHUNK).zip(y.chunks(CHUNK)).zip(out.chunks_mut(CHUNK));
    parallel::share(parts, x.len().div_ceil(CHUNK), |((x, y), out)| level.run(Add { x, y, out }))
}

struct AddRow<'a> {
    x: &'a mut [f32],
    row: &'a [f32],
}

impl Kernel for AddRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for x in self.x.chunks_exact_mut(self.row.len()) {
            for (x, &y) in x.iter_mut().zip(self.row) {
                *x = one_nan(*x + y);
            }
        }
    }
}

/// Adds one row to each row of `x`.
///
/// # Errors
///
/// As [`scale`].
///
/// # Panics
///
/// If `row` is empty, the elements make no whole rows, or the CPU lacks `level`.
pub fn add_row(level: Level, x: &mut [f32], row: &[f32]) -> Result<(), ThreadsError> {
    let rows = super::rows::count(x.len(), row.len());
    let part = super::rows::rows_of_part(row.len()) * row.len();
    super::rows::share(x.chunks_mut(part), rows, row.len(), |x| level.run(AddRow { x, row }))
}

/// Which elements dropout keeps: those whose word is no less than `p 2^32`, multiplied by `1 / (1 - p)` rounded to
/// float32. Element `i` reads word `i` of the seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The share of elements that become zero, at least 0 and below 1.
    pub p: f64,
    /// Of the words.
    pub seed: u64,
}

struct Drop<'a> {
    how: Dropout,
    /// Of the first element: its word is the one at four times this.
    block: u64,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Drop<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Dropout { p, seed } = self.how;
        // Exact, and below 2^32.
        let least = (p * 4_294_967_296.0) as u32;
        let factor = (1.0 / (1.0 - p)) as f32;
        let mut words = [0; random::BLOCK];
        let blocks = self.x.chunks(random::BLOCK).zip(self.y.chunks_mut(random::BLOCK));
        for (i, (x, y)) in blocks.enumerate() {
            random::fill(seed, self.block + (i * random::BLOCK / 4) as u64, &mut words);
            for ((y, &x), &word) in y.iter_mut().zip(x).zip(&words) {
                let kept = one_nan(x * factor);
                *y = if word >= least { kept } else { 0.0 };
            }
        }
    }
}

/// Writes what dropout leaves of `x` to `y`: kept elements multiplied, others +0, whatever they were.
///
/// # Errors
///
/// As [`scale`].
///
/// # Panics
///
/// If the lengths differ, `p` is out of its range, or the CPU lacks `level`.
pub fn dropout(level: Level, how: Dropout, x: &[f32], y: &mut [f32]) -> Result<(), ThreadsError> {
    assert_eq!(x.len(), y.len(), "the lengths differ");
    assert!((0.0..1.0).contains(&how.p), "p is {}", how.p);
    let parts = x.chunks(CHUNK).zip(y.chunks_mut(CHUNK)).enumerate();
    parallel::share(parts, x.len().div_ceil(CHUNK), |(i, (x, y))| {
        let block = (i * CHUNK / 4) as u64;
        level.run(Drop { how, block, x, y });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::tests::{numbers, on_every_level};
    use crate::random::{Words, word};

    const N: usize = 4 * CHUNK + 37;

    #[test]
    fn factors_and_sums_are_float32s() {
        let (mut x, y) = (numbers(N, 1), numbers(N, 2));
        for factor in [1.0, 0.1, -3.0] {
            let scaled = on_every_level(N, |level, out| {
                out.copy_from_slice(&x);
                assert!(scale(level, out, factor).unwrap());
            });
            assert!(scaled.iter().zip(&x).all(|(y, x)| y.to_bits() == (x * factor as f32).to_bits()));
        }
        let sum = on_every_level(N, |level, out| add(level, &x, &y, out).unwrap());
        assert!((0..N).all(|i| sum[i].to_bits() == (x[i] + y[i]).to_bits()));
        let sum = on_every_level(N - N % 97, |level, out| {
            out.copy_from_slice(&x[..N - N % 97]);
            add_row(level, out, &y[..97]).unwrap();
        });
        assert!((0..sum.len()).all(|i| sum[i].to_bits() == (x[i] + y[i % 97]).to_bits()));
        for (at, special) in [(0, f32::NAN), (N - 1, f32::INFINITY), (CHUNK, f32::NEG_INFINITY)] {
            let old = std::mem::replace(&mut x[at], special);
            on_every_level(1, |level, out| {
                assert!(!all_finite(level, &x).unwrap());
                let mut copy = x.clone();
                assert!(!scale(level, &mut copy, 0.5).unwrap());
                out[0] = copy[at];
            });
            x[at] = old;
        }
        x[7] = f32::MAX;
        on_every_level(1, |level, _| {
            assert!(all_finite(level, &x).unwrap());
            assert!(!scale(level, &mut x.clone(), 2.0).unwrap());
        });
    }

    #[test]
    fn dropout_keeps_by_its_words() {
        let mut x = numbers(N, 3);
        x[5] = f32::NAN;
        for p in [0.0, 0.25, 0.9] {
            let y = on_every_level(N, |level, y| dropout(level, Dropout { p, seed: 77 }, &x, y).unwrap());
            let mut kept = 0;
            for (i, (&x, &y)) in x.iter().zip(&y).enumerate() {
                let keeps = f64::from(word(Words { seed: 77, position: i as u64 })) >= p * 2f64.powi(32);
                let right = if keeps { x * (1.0 / (1.0 - p)) as f32 } else { 0.0 };
                assert!(y.to_bits() == right.to_bits() || y.is_nan() && right.is_nan(), "{i}");
                kept += usize::from(keeps);
            }
            // Six standard deviations of a binomial distribution.
            let (n, q) = (N as f64, 1.0 - p);
            assert!((kept as f64 - n * q).abs() <= 6.0 * (n * q * p).sqrt());
        }
    }
}
