//! Stochastic gradient descent in one pass over memory: parameters and states are float32, and every operation is rounded
//! to it, as array operations one after the other would.

use super::map::one_nan;
use super::steps::CHUNK;
use crate::isa::{Kernel, Level};
use crate::parallel::{self, ThreadsError};
use crate::simd::Simd;

/// A step of stochastic gradient descent, in this order, each line rounded to float32 at each operation:
///
/// - `d = g + weight_decay * p` where there is decay, else `g`;
/// - `b = d` in the first step, `b = momentum * b + d` later, where there is momentum; then `d = b`;
/// - `p = p - rate * d`.
///
/// Numbers of the step are rounded to float32 first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub rate: f64,
    /// Factor on the parameters in the gradient; 0 for none.
    pub weight_decay: f64,
    /// Factor on the buffer.
    pub momentum: f64,
    /// Whether the buffer holds nothing yet.
    pub first: bool,
}

/// The gradient with decay; without, it keeps the sign of its zeros and infinite parameters do not touch it.
#[inline(always)]
fn decayed(gradient: f32, value: f32, weight_decay: f32) -> f32 {
    if weight_decay == 0.0 { gradient } else { gradient + weight_decay * value }
}

/// The numbers of a step as float32; made where the rounding direction is known.
#[derive(Clone, Copy)]
pub(super) struct SgdNumbers {
    rate: f32,
    weight_decay: f32,
    momentum: f32,
}

impl SgdNumbers {
    #[inline(always)]
    pub(super) fn of(how: Sgd) -> Self {
        Self { rate: how.rate as f32, weight_decay: how.weight_decay as f32, momentum: how.momentum as f32 }
    }

    /// The parameter after a step without momentum.
    #[inline(always)]
    fn plain(self, p: f32, g: f32) -> f32 {
        one_nan(p - self.rate * decayed(g, p, self.weight_decay))
    }

    /// Parameter and buffer after a step with momentum, the first.
    #[inline(always)]
    pub(super) fn first(self, p: f32, g: f32) -> (f32, f32) {
        let b = one_nan(decayed(g, p, self.weight_decay));
        (one_nan(p - self.rate * b), b)
    }

    /// Parameter and buffer after a later step.
    #[inline(always)]
    pub(super) fn later(self, p: f32, g: f32, b: f32) -> (f32, f32) {
        let b = one_nan(b * self.momentum + decayed(g, p, self.weight_decay));
        (one_nan(p - self.rate * b), b)
    }
}

struct SgdStep<'a> {
    how: Sgd,
    value: &'a mut [f32],
    gradient: &'a [f32],
    buffer: Option<&'a mut [f32]>,
}

impl Kernel for SgdStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let numbers = SgdNumbers::of(self.how);
        let all = self.value.iter_mut().zip(self.gradient);
        match self.buffer {
            Some(buffer) if self.how.first => {
                for ((p, &g), b) in all.zip(buffer) {
                    (*p, *b) = numbers.first(*p, g);
                }
            }
            Some(buffer) => {
                for ((p, &g), b) in all.zip(buffer) {
                    (*p, *b) = numbers.later(*p, g, *b);
                }
            }
            None => {
                for (p, &g) in all {
                    *p = numbers.plain(*p, g);
                }
            }
        }
    }
}

/// Takes a step of all of `value`; with momentum where there is a `buffer`.
///
/// # Errors
///
/// If there can be no pool.
///
/// # Panics
///
/// If the lengths differ or the CPU lacks `level`.
pub fn sgd_step(
    level: Level,
    how: Sgd,
    value: &mut [f32],
    gradient: &[f32],
    buffer: Option<&mut [f32]>,
) -> Result<(), ThreadsError> {
    let n = value.len();
    assert!(n == gradient.len() && buffer.as_ref().is_none_or(|b| b.len() == n), "the lengths differ");
    let count = n.div_ceil(CHUNK);
    let parts = value.chunks_mut(CHUNK).zip(gradient.chunks(CHUNK));
    match buffer {
        Some(buffer) => {
            parallel::share(parts.zip(buffer.chunks_mut(CHUNK)), count, |((value, gradient), b)| {
                level.run(SgdStep { how, value, gradient, buffer: Some(b) });
            })
        }
        None => parallel::share(parts, count, |(value, gradient)| {
            level.run(SgdStep { how, value, gradient, buffer: None });
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::steps::tests::{N, each, same, with_specials};
    use crate::math::tests::on_every_level;

    #[test]
    fn sgd_is_its_formula() {
        let (value, gradient, old) = (with_specials(1), with_specials(2), with_specials(3));
        for (weight_decay, momentum, first) in
            [(0.0, None, true), (0.01, None, true), (0.0, Some(0.9), true), (0.01, Some(0.9), false)]
        {
            let how = Sgd { rate: 0.3, weight_decay, momentum: momentum.unwrap_or(0.0), first };
            let (weight_decay, momentum) =
                (weight_decay as f32, momentum.map(|momentum: f64| momentum as f32));
            let both = on_every_level(2 * N, |level, out| {
                let (p, b) = out.split_at_mut(N);
                p.copy_from_slice(&value);
                b.copy_from_slice(&old);
                sgd_step(level, how, p, &gradient, momentum.map(|_| b)).unwrap();
            });
            for i in 0..N {
                let mut d = gradient[i];
                if weight_decay != 0.0 {
                    d += each(weight_decay * value[i]);
                }
                if let Some(momentum) = momentum {
                    d = if first { d } else { each(old[i] * momentum) + d };
                    assert!(same(both[N + i], d), "{i}");
                }
                assert!(same(both[i], value[i] - each(0.3 * each(d))), "{i}");
            }
        }
    }
}
