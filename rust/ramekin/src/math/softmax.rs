//! Softmax of rows, its logarithm, its gradient, and the cross-entropy with labels.
//!
//! With `m` the largest element of a row, `e_i = exp(x_i - m)` and `s` the sum of these in 16 lanes and a tree, as in
//! [`super::sum`], all in float64. A row with NaN or an infinity that is its largest element has no softmax: it gives NaN.

use super::elementary::{exp, log};
use super::lanes::sum_of;
use super::map::rounded;
use super::reduce::largest;
use super::rows::{count, rows_of_part, share};
use crate::isa::{Kernel, Level};
use crate::parallel::ThreadsError;
use crate::simd::Simd;

/// Writes the exponentials of a row to `e` and gives the largest element and the sum.
#[inline(always)]
fn exponentials(x: &[f32], e: &mut [f64]) -> (f64, f64) {
    let most = f64::from(largest(x));
    for (e, &x) in e.iter_mut().zip(x) {
        *e = exp(f64::from(x) - most);
    }
    (most, sum_of!(e in e[..x.len()] => e))
}

struct Softmax<'a> {
    x: &'a [f32],
    width: usize,
    y: &'a mut [f32],
    logarithm: bool,
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut e = vec![0.0; self.width];
        for (x, y) in self.x.chunks_exact(self.width).zip(self.y.chunks_exact_mut(self.width)) {
            let (most, sum) = exponentials(x, &mut e);
            if self.logarithm {
                let log_sum = log(sum);
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = rounded((f64::from(x) - most) - log_sum);
                }
            } else {
                let factor = 1.0 / sum;
                for (y, &e) in y.iter_mut().zip(&e) {
                    *y = rounded(e * factor);
                }
            }
        }
    }
}

fn run(level: Level, x: &[f32], width: usize, y: &mut [f32], logarithm: bool) -> Result<(), ThreadsError> {
    assert_eq!(x.len(), y.len(), "the lengths differ");
    let rows = count(x.len(), width);
    let part = rows_of_part(width) * width;
    let parts = x.chunks(part).zip(y.chunks_mut(part));
    share(parts, rows, width, |(x, y)| level.run(Softmax { x, width, y, logarithm }))
}

/// Writes `e_i / s`, as `e_i (1 / s)`, of each row of `width` to `y`.
///
/// # Errors
///
/// If there can be no pool.
///
/// # Panics
///
/// If the lengths differ, `width` is 0 or makes no whole rows, or the CPU lacks `level`.
pub fn softmax(level: Level, x: &[f32], width: usize, y: &mut [f32]) -> Result<(), ThreadsError> {
    run(level, x, width, y, false)
}

/// Writes `(x_i - m) - log s` of each row of `width` to `y`.
///
/// # Errors
///
/// As [`softmax`].
///
/// # Panics
///
/// As [`softmax`].
pub fn log_softmax(level: Level, x: &[f32], width: usize, y: &mut [f32]) -> Result<(), ThreadsError> {
    run(level, x, width, y, true)
}

struct SoftmaxGradient<'a> {
    y: &'a [f32],
    dy: &'a [f32],
    width: usize,
    dx: &'a mut [f32],
}

impl Kernel for SoftmaxGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let width = self.width;
        let rows = self.y.chunks_exact(width).zip(self.dy.chunks_exact(width));
        for ((y, dy), dx) in rows.zip(self.dx.chunks_exact_mut(width)) {
            let dot = sum_of!(y in y, dy in dy => f64::from(y) * f64::from(dy));
            for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = rounded(f64::from(y) * (f64::from(dy) - dot));
            }
        }
    }
}

/// Writes the gradient by the input of [`softmax`] to `dx`, from its output and the gradient by that: `y_i (dy_i - sum
/// y dy)`, the sum as in [`super::sum`] but in one piece.
///
/// # Errors
///
/// As [`softmax`].
///
/// # Panics
///
/// As [`softmax`].
pub fn softmax_gradient(
    level: Level,
    y: &[f32],
    dy: &[f32],
    width: usize,
    dx: &mut [f32],
) -> Result<(), ThreadsError> {
    assert!(y.len() == dy.len() && y.len() == dx.len(), "the lengths differ");
    let rows = count(y.len(), width);
    let part = rows_of_part(width) * width;
    let parts = y.chunks(part).zip(dy.chunks(part)).zip(dx.chunks_mut(part));
    share(parts, rows, width, |((y, dy), dx)| level.run(SoftmaxGradient { y, dy, width, dx }))
}

/// The class of each row, below the rows' width.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a>(&'a [i64]);

impl<'a> Labels<'a> {
    /// None if a label is no class of `width`.
    #[must_use]
    pub fn new(labels: &'a [i64], width: usize) -> Option<Self> {
        let known = |label: &i64| usize::try_from(*label).is_ok_and(|label| label < width);
        labels.iter().all(known).then_some(Self(labels))
    }

    pub(super) fn as_slice(self) -> &'a [i64] {
        self.0
    }
}

struct CrossEntropy<'a> {
    x: &'a [f32],
    width: usize,
    labels: &'a [i64],
    losses: &'a mut [f32],
    gradient: &'a mut [f32],
    scale: f64,
    /// Of the whole batch.
    rows: usize,
}

impl Kernel for CrossEntropy<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let width = self.width;
        let scale = self.scale / self.rows as f64;
        let mut e = vec![0.0; width];
        let rows = self.x.chunks_exact(width).zip(self.gradient.chunks_exact_mut(width));
        for (((x, gradient), &label), loss) in rows.zip(self.labels).zip(self.losses) {
            let label = label as usize;
            let (most, sum) = exponentials(x, &mut e);
            *loss = rounded(log(sum) - (f64::from(x[label]) - most));
            let factor = 1.0 / sum;
            for (gradient, &e) in gradient.iter_mut().zip(&e) {
                *gradient = rounded(e * factor * scale);
            }
            gradient[label] = rounded((e[label] * factor - 1.0) * scale);
        }
    }
}

/// The mean of row losses, rounded once.
struct Mean<'a>(&'a [f32]);

impl Kernel for Mean<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f32 {
        let losses = self.0;
        rounded(sum_of!(loss in losses => f64::from(loss)) / losses.len() as f64)
    }
}

/// Writes the cross-entropy `log s - (x_label - m)` of each of the `n` rows to `losses` and the gradient of their mean
/// times `scale`, `(e_i (1 / s) - [i = label]) (scale / n)`, to `gradient`. Returns the mean of what was written to
/// `losses`, summed as by [`super::sum`] but in one piece.
///
/// # Errors
///
/// As [`softmax`].
///
/// # Panics
///
/// If the lengths differ, the width is 0, a label is no class, or the CPU lacks `level`.
pub fn cross_entropy(
    level: Level,
    x: &[f32],
    width: usize,
    labels: Labels<'_>,
    scale: f64,
    losses: &mut [f32],
    gradient: &mut [f32],
) -> Result<f32, ThreadsError> {
    let (rows, labels) = (count(x.len(), width), labels.as_slice());
    assert!(rows == labels.len() && rows == losses.len() && x.len() == gradient.len(), "the lengths differ");
    let part = rows_of_part(width);
    let parts = x.chunks(part * width).zip(gradient.chunks_mut(part * width));
    let parts = parts.zip(labels.chunks(part)).zip(losses.chunks_mut(part));
    share(parts, rows, width, |(((x, gradient), labels), losses)| {
        level.run(CrossEntropy { x, width, labels, losses, gradient, scale, rows });
    })?;
    Ok(level.run(Mean(losses)))
}
