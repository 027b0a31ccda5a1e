//! Sums and largest elements of rows and columns.

use super::lanes::sum_of;
use super::map::rounded;
use super::rows::{count, rows_of_part, share};
use crate::isa::{Kernel, Level};
use crate::parallel::ThreadsError;
use crate::simd::Simd;

/// Elements of a row that are summed in lanes; the sums of such pieces are added in ascending order.
pub(super) const PIECE: usize = 1 << 16;

/// What is summed.
#[derive(Clone, Copy)]
enum Term {
    Value,
    Square,
}

/// The sums of pieces of a row.
struct Pieces<'a> {
    x: &'a [f32],
    term: Term,
}

impl Kernel for Pieces<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        match self.term {
            Term::Value => sum_of!(x in self.x => f64::from(x)),
            // Exact: the square of a float32 has 48 bits.
            Term::Square => sum_of!(x in self.x => f64::from(x) * f64::from(x)),
        }
    }
}

/// Adds the sums of each row's pieces and rounds.
struct Finish<'a> {
    pieces: &'a [f64],
    out: &'a mut [f32],
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let each = self.pieces.len() / self.out.len();
        for (out, pieces) in self.out.iter_mut().zip(self.pieces.chunks_exact(each)) {
            let mut sum = 0.0;
            for piece in pieces {
                sum += piece;
            }
            *out = rounded(sum);
        }
    }
}

/// The sums of the pieces of each row.
fn piece_sums(level: Level, x: &[f32], width: usize, term: Term) -> Result<Vec<f64>, ThreadsError> {
    let count = count(x.len(), width) * width.div_ceil(PIECE);
    let mut pieces = vec![0.0; count];
    let part = rows_of_part(width.min(PIECE));
    let all = x.chunks(width).flat_map(|row| row.chunks(PIECE)).zip(pieces.iter_mut());
    // As many pieces as make a part are taken at once.
    let all = Parts { all, part };
    share(all, count, width.min(PIECE), |pieces| {
        for (x, piece) in pieces {
            *piece = level.run(Pieces { x, term });
        }
    })?;
    Ok(pieces)
}

fn reduce(level: Level, x: &[f32], width: usize, out: &mut [f32], term: Term) -> Result<(), ThreadsError> {
    if width == 0 || out.is_empty() {
        out.fill(0.0);
        return Ok(());
    }
    assert_eq!(count(x.len(), width), out.len(), "one sum for each row");
    let pieces = piece_sums(level, x, width, term)?;
    level.run(Finish { pieces: &pieces, out });
    Ok(())
}

/// An iterator's items in groups.
struct Parts<I> {
    all: I,
    part: usize,
}

impl<I: Iterator> Iterator for Parts<I> {
    type Item = Vec<I::Item>;

    fn next(&mut self) -> Option<Vec<I::Item>> {
        let part: Vec<_> = self.all.by_ref().take(self.part).collect();
        (!part.is_empty()).then_some(part)
    }
}

/// The sum of each row of `width`, in float64 and rounded once: of every 65536 elements, element `k` goes to lane `k mod
/// 16`, each lane is an ascending chain from +0, and lanes are added as a tree (lane `l += l + 8`, then 4, 2, 1); such
/// sums are added in ascending order from +0. Rows without elements have the sum 0.
///
/// # Errors
///
/// If there can be no pool.
///
/// # Panics
///
/// If `out` has no element for each row, or the CPU lacks `level`.
pub fn sum(level: Level, x: &[f32], width: usize, out: &mut [f32]) -> Result<(), ThreadsError> {
    reduce(level, x, width, out, Term::Value)
}

/// The sum of the squares of each row, as [`sum`]; each square is exact.
///
/// # Errors
///
/// As [`sum`].
///
/// # Panics
///
/// As [`sum`].
pub fn sum_of_squares(level: Level, x: &[f32], width: usize, out: &mut [f32]) -> Result<(), ThreadsError> {
    reduce(level, x, width, out, Term::Square)
}

/// Adds numbers in ascending order from +0.
pub(super) struct Ascending<'a>(pub(super) &'a [f64]);

impl Kernel for Ascending<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sum = 0.0;
        for x in self.0 {
            sum += x;
        }
        sum
    }
}

/// The sum of all squares, as [`sum_of_squares`] of one row but left in float64, where no square of a float32
/// overflows or underflows.
///
/// # Errors
///
/// As [`sum`].
///
/// # Panics
///
/// If the CPU lacks `level`.
pub fn total_of_squares(level: Level, x: &[f32]) -> Result<f64, ThreadsError> {
    if x.is_empty() {
        return Ok(0.0);
    }
    let pieces = piece_sums(level, x, x.len(), Term::Square)?;
    Ok(level.run(Ascending(&pieces)))
}

/// An integer that orders float32 numbers, -0 below +0.
#[inline(always)]
fn key(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// The largest of `x`, NaN if there is one. The order of the elements does not matter: +0 is above -0.
#[inline(always)]
pub(super) fn largest(x: &[f32]) -> f32 {
    let (mut most, mut nan) = (i32::MIN, 0u32);
    for &x in x {
        most = most.max(key(x));
        nan |= u32::from(x.is_nan());
    }
    let most = f32::from_bits((most ^ ((most >> 31) as u32 >> 1) as i32) as u32);
    if nan != 0 { f32::NAN } else { most }
}

struct Largest<'a> {
    x: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl Kernel for Largest<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (row, out) in self.x.chunks_exact(self.width).zip(self.out) {
            *out = largest(row);
        }
    }
}

/// The largest element of each row, NaN where there is one; +0 is above -0.
///
/// # Errors
///
/// As [`sum`].
///
/// # Panics
///
/// If `width` is 0, `out` has no element for each row, or the CPU lacks `level`.
pub fn max(level: Level, x: &[f32], width: usize, out: &mut [f32]) -> Result<(), ThreadsError> {
    let rows = count(x.len(), width);
    assert_eq!(rows, out.len(), "one element for each row");
    let part = rows_of_part(width);
    let parts = x.chunks(part * width).zip(out.chunks_mut(part));
    share(parts, rows, width, |(x, out)| level.run(Largest { x, width, out }))
}

/// Columns that are summed side by side, in the nearest cache.
pub(super) const STRIPE: usize = 256;

struct Columns<'a> {
    x: &'a [f32],
    width: usize,
    first: usize,
    out: &'a mut [f32],
}

impl Kernel for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut sums = [0.0f64; STRIPE];
        let sums = &mut sums[..self.out.len()];
        for row in self.x.chunks_exact(self.width) {
            for (sum, &x) in sums.iter_mut().zip(&row[self.first..]) {
                *sum += f64::from(x);
            }
        }
        for (out, &sum) in self.out.iter_mut().zip(sums.iter()) {
            *out = rounded(sum);
        }
    }
}

/// The sum of each column of rows as wide as `out`: an ascending chain from +0 in float64, rounded once.
///
/// # Errors
///
/// As [`sum`].
///
/// # Panics
///
/// If the elements make no whole rows, or the CPU lacks `level`.
pub fn sum_columns(level: Level, x: &[f32], out: &mut [f32]) -> Result<(), ThreadsError> {
    let width = out.len();
    if width == 0 {
        return Ok(());
    }
    count(x.len(), width);
    let stripes = out.chunks_mut(STRIPE).enumerate();
    crate::parallel::share(stripes, width.div_ceil(STRIPE), |(i, out)| {
        level.run(Columns { x, width, first: i * STRIPE, out });
    })
}
