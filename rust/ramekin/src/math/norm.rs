//! LayerNorm and RMSNorm of rows, and their gradients.
//!
//! Of a row `x` of `n` elements, in float64, every sum in 16 lanes and a tree as in [`super::sum`], but in one piece:
//!
//! - LayerNorm (Ba, Kiros and Hinton 2016): `mu = sum x / n`, `v = sum (x - mu)^2 / n`, `r = 1 / sqrt(v + eps)`, `h = (x
//!   - mu) r`, `y = h w + b`;
//! - RMSNorm (Zhang and Sennrich 2019): `v = sum x^2 / n`, `r = 1 / sqrt(v + eps)`, `h = x r`, `y = h w`.
//!
//! With `g = dy w`, `dx = r (g - sum g / n - h (sum g h / n))`, without the term `sum g / n` for RMSNorm; `dw` is the sum
//! of `dy h` over the rows and `db` that of `dy`, each in ascending order. What is written is rounded to float32 once.

use super::lanes::sum_of;
use super::map::rounded;
use super::reduce::STRIPE;
use super::rows::{count, rows_of_part, share};
use crate::isa::{Kernel, Level};
use crate::parallel::{self, ThreadsError};
use crate::simd::Simd;

/// Which norm, and the number that keeps its root from zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Whether the mean is taken away: LayerNorm, else RMSNorm.
    pub centred: bool,
    /// Added to the mean square.
    pub eps: f64,
}

/// The mean, 0 for RMSNorm, and the factor on what it leaves.
type Moments = (f64, f64);

impl Norm {
    #[inline(always)]
    fn moments(self, x: &[f32]) -> Moments {
        let n = x.len() as f64;
        let mean = if self.centred { sum_of!(x in x => f64::from(x)) / n } else { 0.0 };
        let square = sum_of!(x in x => {
            let from_mean = f64::from(x) - mean;
            from_mean * from_mean
        }) / n;
        (mean, 1.0 / (square + self.eps).sqrt())
    }
}

struct Forward<'a> {
    norm: Norm,
    x: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let width = self.weight.len();
        for (x, y) in self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width)) {
            let (mean, factor) = self.norm.moments(x);
            let columns = y.iter_mut().zip(x).zip(self.weight);
            match self.bias {
                Some(bias) => {
                    for (((y, &x), &w), &b) in columns.zip(bias) {
                        *y = rounded((f64::from(x) - mean) * factor * f64::from(w) + f64::from(b));
                    }
                }
                None => {
                    for ((y, &x), &w) in columns {
                        *y = rounded((f64::from(x) - mean) * factor * f64::from(w));
                    }
                }
            }
        }
    }
}

/// Writes the norm of each row, as wide as `weight`, to `y`.
///
/// # Errors
///
/// If there can be no pool.
///
/// # Panics
///
/// If the lengths differ, there are no columns or no whole rows, or the CPU lacks `level`.
pub fn normalize(
    level: Level,
    norm: Norm,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) -> Result<(), ThreadsError> {
    let width = weight.len();
    assert!(x.len() == y.len() && bias.is_none_or(|bias| bias.len() == width), "the lengths differ");
    let rows = count(x.len(), width);
    let part = rows_of_part(width) * width;
    let parts = x.chunks(part).zip(y.chunks_mut(part));
    share(parts, rows, width, |(x, y)| level.run(Forward { norm, x, weight, bias, y }))
}

struct Backward<'a> {
    norm: Norm,
    x: &'a [f32],
    weight: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    moments: &'a mut [Moments],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (width, w) = (self.weight.len(), self.weight);
        let n = width as f64;
        let rows = self.x.chunks_exact(width).zip(self.dy.chunks_exact(width));
        for (((x, dy), dx), moments) in rows.zip(self.dx.chunks_exact_mut(width)).zip(self.moments) {
            let (mean, factor) = self.norm.moments(x);
            *moments = (mean, factor);
            let shift = if self.norm.centred {
                sum_of!(dy in dy, w in w => f64::from(dy) * f64::from(w)) / n
            } else {
                0.0
            };
            let slope = sum_of!(x in x, dy in dy, w in w => {
                f64::from(dy) * f64::from(w) * ((f64::from(x) - mean) * factor)
            }) / n;
            for (((dx, &x), &dy), &w) in dx.iter_mut().zip(x).zip(dy).zip(w) {
                let h = (f64::from(x) - mean) * factor;
                *dx = rounded(factor * (f64::from(dy) * f64::from(w) - shift - h * slope));
            }
        }
    }
}

/// The gradients by weight and bias of some columns.
struct ByParameters<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    moments: &'a [Moments],
    width: usize,
    first: usize,
    weight: &'a mut [f32],
    bias: Option<&'a mut [f32]>,
}

impl Kernel for ByParameters<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (mut by_weight, mut by_bias) = ([0.0f64; STRIPE], [0.0f64; STRIPE]);
        let columns = self.weight.len();
        let rows = self.x.chunks_exact(self.width).zip(self.dy.chunks_exact(self.width));
        for ((x, dy), &(mean, factor)) in rows.zip(self.moments) {
            let (x, dy) = (&x[self.first..], &dy[self.first..]);
            let sums = by_weight[..columns].iter_mut().zip(&mut by_bias[..columns]);
            for (((by_weight, by_bias), &x), &dy) in sums.zip(x).zip(dy) {
                *by_weight += f64::from(dy) * ((f64::from(x) - mean) * factor);
                *by_bias += f64::from(dy);
            }
        }
        for (out, &sum) in self.weight.iter_mut().zip(&by_weight) {
            *out = rounded(sum);
        }
        for (out, &sum) in self.bias.into_iter().flatten().zip(&by_bias) {
            *out = rounded(sum);
        }
    }
}

/// Where the gradients of a norm go.
#[derive(Debug)]
pub struct NormGradients<'a> {
    /// By the input.
    pub x: &'a mut [f32],
    /// By the weight.
    pub weight: &'a mut [f32],
    /// By the bias, if there is one.
    pub bias: Option<&'a mut [f32]>,
}

/// Writes the gradients of [`normalize`] by input, weight and bias, given that by its output.
///
/// # Errors
///
/// As [`normalize`].
///
/// # Panics
///
/// As [`normalize`].
pub fn normalize_gradient(
    level: Level,
    norm: Norm,
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    gradients: NormGradients<'_>,
) -> Result<(), ThreadsError> {
    let width = weight.len();
    let NormGradients { x: dx, weight: by_weight, bias: by_bias } = gradients;
    let fits = |length| length == width;
    assert!(x.len() == dy.len() && x.len() == dx.len() && fits(by_weight.len()), "the lengths differ");
    assert!(by_bias.as_ref().is_none_or(|bias| fits(bias.len())), "the lengths differ");
    let rows = count(x.len(), width);
    let mut moments = vec![(0.0, 0.0); rows];
    let part = rows_of_part(width);
    let parts = x.chunks(part * width).zip(dy.chunks(part * width)).zip(dx.chunks_mut(part * width));
    share(parts.zip(moments.chunks_mut(part)), rows, width, |(((x, dy), dx), moments)| {
        level.run(Backward { norm, x, weight, dy, dx, moments });
    })?;
    let stripes = width.div_ceil(STRIPE);
    let biases: Vec<_> = match by_bias {
        Some(bias) => bias.chunks_mut(STRIPE).map(Some).collect(),
        None => (0..stripes).map(|_| None).collect(),
    };
    let parts = by_weight.chunks_mut(STRIPE).zip(biases).enumerate();
    parallel::share(parts, stripes, |(i, (weight, bias))| {
        let first = i * STRIPE;
        level.run(ByParameters { x, dy, moments: &moments, width, first, weight, bias });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::tests::{numbers, on_every_level};

    /// Of one row, with sums in plain order: output, and gradients by input, weight and bias.
    fn plain(norm: Norm, x: &[f32], w: &[f32], b: &[f32], dy: &[f32]) -> [Vec<f64>; 4] {
        let n = x.len() as f64;
        let mean = if norm.centred { x.iter().map(|&x| f64::from(x)).sum::<f64>() / n } else { 0.0 };
        let square = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
        let h: Vec<f64> = x.iter().map(|&x| (f64::from(x) - mean) / (square + norm.eps).sqrt()).collect();
        let g: Vec<f64> = dy.iter().zip(w).map(|(&dy, &w)| f64::from(dy) * f64::from(w)).collect();
        let shift = if norm.centred { g.iter().sum::<f64>() / n } else { 0.0 };
        let slope = g.iter().zip(&h).map(|(g, h)| g * h).sum::<f64>() / n;
        [
            (0..x.len()).map(|i| h[i] * f64::from(w[i]) + f64::from(b[i])).collect(),
            (0..x.len()).map(|i| (g[i] - shift - h[i] * slope) / (square + norm.eps).sqrt()).collect(),
            (0..x.len()).map(|i| f64::from(dy[i]) * h[i]).collect(),
            dy.iter().map(|&dy| f64::from(dy)).collect(),
        ]
    }

    /// Half a unit in the last place, and what the terms of a sum near zero leave.
    fn near(y: f32, right: f64) -> bool {
        (f64::from(y) - right).abs() <= right.abs() * 2f64.powi(-24) * 1.0002 + 1e-12
    }

    #[test]
    fn norms_are_near_the_true_ones() {
        for (rows, width) in [(1, 1), (3, 15), (300, 300), (2, 5_000)] {
            for centred in [true, false] {
                let norm = Norm { centred, eps: 1e-5 };
                let (x, dy) = (numbers(rows * width, 1), numbers(rows * width, 2));
                let (w, b) = (numbers(width, 3), numbers(width, 4));
                let with = on_every_level(x.len(), |level, y| {
                    normalize(level, norm, &x, &w, Some(&b), y).unwrap();
                });
                let without = on_every_level(x.len(), |level, y| {
                    normalize(level, norm, &x, &w, None, y).unwrap();
                });
                let all = on_every_level(x.len() + 2 * width, |level, out| {
                    let (x_out, parameters) = out.split_at_mut(x.len());
                    let (weight, bias) = parameters.split_at_mut(width);
                    let gradients = NormGradients { x: x_out, weight, bias: Some(bias) };
                    normalize_gradient(level, norm, &x, &w, &dy, gradients).unwrap();
                });
                let alone = on_every_level(x.len() + width, |level, out| {
                    let (x_out, weight) = out.split_at_mut(x.len());
                    let gradients = NormGradients { x: x_out, weight, bias: None };
                    normalize_gradient(level, norm, &x, &w, &dy, gradients).unwrap();
                });
                assert_eq!(alone, all[..x.len() + width]);
                let (mut by_weight, mut by_bias) = (vec![0.0; width], vec![0.0; width]);
                for i in 0..rows {
                    let row = i * width..(i + 1) * width;
                    let [y, dx, dw, db] = plain(norm, &x[row.clone()], &w, &b, &dy[row]);
                    for j in 0..width {
                        assert!(near(with[i * width + j], y[j]), "{} {}", with[i * width + j], y[j]);
                        assert!(near(without[i * width + j], y[j] - f64::from(b[j])));
                        assert!(near(all[i * width + j], dx[j]), "{} {}", all[i * width + j], dx[j]);
                        by_weight[j] += dw[j];
                        by_bias[j] += db[j];
                    }
                }
                for j in 0..width {
                    assert!(near(all[x.len() + j], by_weight[j]));
                    assert!(near(all[x.len() + width + j], by_bias[j]));
                }
            }
        }
    }
}
