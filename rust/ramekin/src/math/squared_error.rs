//! The mean squared error and its gradient, in one pass over memory.

use super::lanes::{LANES, tree};
use super::map::rounded;
use super::reduce::{Ascending, PIECE};
use crate::isa::{Kernel, Level};
use crate::parallel::{self, ThreadsError};
use crate::simd::Simd;

struct Piece<'a> {
    x: &'a [f32],
    targets: &'a [f32],
    gradient: &'a mut [f32],
    factor: f64,
}

impl Kernel for Piece<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut lanes = [0.0f64; LANES];
        let all = self.x.chunks(LANES).zip(self.targets.chunks(LANES));
        for ((x, targets), gradient) in all.zip(self.gradient.chunks_mut(LANES)) {
            for (((lane, &x), &target), gradient) in lanes.iter_mut().zip(x).zip(targets).zip(gradient) {
                let difference = f64::from(x) - f64::from(target);
                *gradient = rounded(difference * self.factor);
                *lane += difference * difference;
            }
        }
        tree(lanes)
    }
}

/// Divides a sum and rounds.
struct Mean(f64, f64);

impl Kernel for Mean {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f32 {
        rounded(self.0 / self.1)
    }
}

/// Returns the mean of `(x - target)^2`, in float64 in the order of [`super::sum`] and rounded once, and writes `(x -
/// target) (2 scale / n)`, rounded once, to `gradient`. The mean of nothing is NaN.
///
/// # Errors
///
/// If there can be no pool.
///
/// # Panics
///
/// If the lengths differ or the CPU lacks `level`.
pub fn squared_error(
    level: Level,
    x: &[f32],
    targets: &[f32],
    scale: f64,
    gradient: &mut [f32],
) -> Result<f32, ThreadsError> {
    let n = x.len();
    assert!(n == targets.len() && n == gradient.len(), "the lengths differ");
    let count = n.div_ceil(PIECE);
    let mut sums = vec![0.0; count];
    // Made where the rounding direction is known.
    let factor = level.run(Factor(scale, n as f64));
    let parts = x.chunks(PIECE).zip(targets.chunks(PIECE)).zip(gradient.chunks_mut(PIECE)).zip(&mut sums);
    parallel::share(parts, count, |(((x, targets), gradient), sum)| {
        *sum = level.run(Piece { x, targets, gradient, factor });
    })?;
    Ok(level.run(Mean(level.run(Ascending(&sums)), n as f64)))
}

/// `2 scale / n`.
struct Factor(f64, f64);

impl Kernel for Factor {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        2.0 * self.0 / self.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::tests::{numbers, on_every_level};

    #[test]
    fn error_is_its_formula() {
        for n in [1, 15, 16, 17, 1000, 3 * PIECE + 21] {
            let (x, targets) = (numbers(n, 1), numbers(n, 2));
            for scale in [1.0, 1024.0] {
                let out = on_every_level(n + 1, |level, out| {
                    let (loss, gradient) = out.split_at_mut(1);
                    loss[0] = squared_error(level, &x, &targets, scale, gradient).unwrap();
                });
                let mut total = 0.0f64;
                for (x, targets) in x.chunks(PIECE).zip(targets.chunks(PIECE)) {
                    let mut lanes = [0.0f64; 16];
                    for (k, (&x, &target)) in x.iter().zip(targets).enumerate() {
                        lanes[k % 16] += (f64::from(x) - f64::from(target)).powi(2);
                    }
                    for width in [8, 4, 2, 1] {
                        for lane in 0..width {
                            lanes[lane] += lanes[lane + width];
                        }
                    }
                    total += lanes[0];
                }
                assert_eq!(out[0], (total / n as f64) as f32);
                for i in 0..n {
                    let difference = f64::from(x[i]) - f64::from(targets[i]);
                    assert_eq!(out[1 + i], (difference * (2.0 * scale / n as f64)) as f32, "{i}");
                }
            }
        }
    }
}
