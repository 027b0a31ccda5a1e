//! AdamW in one pass over memory: parameters and states are float32, and every operation is rounded to it, as array
//! operations one after the other would.

use super::map::one_nan;
use super::steps::CHUNK;
use crate::isa::{Kernel, Level};
use crate::parallel::{self, ThreadsError};
use crate::simd::Simd;

/// A step of AdamW (Loshchilov and Hutter 2019), in this order, each operation on arrays rounded to float32:
///
/// - `m = m + (1 - beta1) * (g - m)`;
/// - `v = v * beta2 + (1 - beta2) * (g * g)`;
/// - `d = sqrt(v) / sqrt(1 - beta2^step) + eps`;
/// - `p = p * (1 - rate * weight_decay) - rate / (1 - beta1^step) * (m / d)`.
///
/// What does not depend on an array is worked out in float64, powers by squaring and multiplying from the lowest bit of
/// the exponent on, and is rounded to float32 where it meets one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub rate: f64,
    /// Decay of the average of gradients and of that of their squares.
    pub betas: [f64; 2],
    /// Added to the root.
    pub eps: f64,
    /// Factor on the parameters, beside the rate.
    pub weight_decay: f64,
    /// Which step it is, from 1.
    pub step: u64,
}

/// `base^exponent`: the C library's power changes with the CPU.
#[inline(always)]
fn power(mut base: f64, mut exponent: u64) -> f64 {
    let mut product = 1.0;
    while exponent > 0 {
        if exponent & 1 == 1 {
            product *= base;
        }
        base *= base;
        exponent >>= 1;
    }
    product
}

/// Parameters with what AdamW keeps of each.
#[derive(Debug)]
pub struct AdamWState<'a> {
    /// The parameters.
    pub value: &'a mut [f32],
    /// The averages of the gradients.
    pub mean: &'a mut [f32],
    /// The averages of their squares.
    pub square: &'a mut [f32],
}

/// The numbers of a step as float32; made where the rounding direction is known.
#[derive(Clone, Copy)]
pub(super) struct AdamWNumbers {
    mean_weight: f32,
    square_decay: f32,
    square_weight: f32,
    correction: f32,
    eps: f32,
    decay: f32,
    step_size: f32,
}

impl AdamWNumbers {
    #[inline(always)]
    pub(super) fn of(how: AdamW) -> Self {
        let AdamW { rate, betas: [beta1, beta2], eps, weight_decay, step } = how;
        Self {
            mean_weight: (1.0 - beta1) as f32,
            square_decay: beta2 as f32,
            square_weight: (1.0 - beta2) as f32,
            correction: (1.0 - power(beta2, step)).sqrt() as f32,
            eps: eps as f32,
            decay: (1.0 - rate * weight_decay) as f32,
            step_size: (rate / (1.0 - power(beta1, step))) as f32,
        }
    }

    /// Parameter and both averages after the step.
    #[inline(always)]
    pub(super) fn after(self, p: f32, g: f32, m: f32, v: f32) -> (f32, f32, f32) {
        let m = one_nan(m + self.mean_weight * (g - m));
        let v = one_nan(v * self.square_decay + self.square_weight * (g * g));
        let denominator = v.sqrt() / self.correction + self.eps;
        (one_nan(p * self.decay - self.step_size * (m / denominator)), m, v)
    }
}

struct AdamWStep<'a> {
    how: AdamW,
    state: AdamWState<'a>,
    gradient: &'a [f32],
}

impl Kernel for AdamWStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let numbers = AdamWNumbers::of(self.how);
        let AdamWState { value, mean, square } = self.state;
        for (((p, m), v), &g) in value.iter_mut().zip(mean).zip(square).zip(self.gradient) {
            (*p, *m, *v) = numbers.after(*p, g, *m, *v);
        }
    }
}

/// Takes a step of all parameters.
///
/// # Errors
///
/// As [`sgd_step`](super::sgd_step).
///
/// # Panics
///
/// As [`sgd_step`](super::sgd_step).
pub fn adamw_step(
    level: Level,
    how: AdamW,
    state: AdamWState<'_>,
    gradient: &[f32],
) -> Result<(), ThreadsError> {
    let AdamWState { value, mean, square } = state;
    let n = gradient.len();
    assert!(value.len() == n && mean.len() == n && square.len() == n, "the lengths differ");
    let states = value.chunks_mut(CHUNK).zip(mean.chunks_mut(CHUNK)).zip(square.chunks_mut(CHUNK));
    parallel::share(states.zip(gradient.chunks(CHUNK)), n.div_ceil(CHUNK), |(((value, mean), square), g)| {
        level.run(AdamWStep { how, state: AdamWState { value, mean, square }, gradient: g });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::steps::tests::{N, each, same, with_specials};
    use crate::math::tests::on_every_level;

    #[test]
    fn adamw_is_its_formula() {
        let (value, gradient, mean) = (with_specials(1), with_specials(2), with_specials(3));
        let square: Vec<f32> = with_specials(4).iter().map(|x| x * x).collect();
        let (rate, beta1, beta2, weight_decay, step) = (0.02, 0.9, 0.999, 0.01, 5);
        let how = AdamW { rate, betas: [beta1, beta2], eps: 1e-8, weight_decay, step };
        let correction = (1.0 - 0.999f64 * 0.999 * 0.999 * 0.999 * 0.999).sqrt() as f32;
        let step_size = (rate / (1.0 - 0.9f64 * 0.9 * 0.9 * 0.9 * 0.9)) as f32;
        let (decay, mean_weight) = ((1.0 - rate * weight_decay) as f32, (1.0 - beta1) as f32);
        let (square_decay, square_weight) = (beta2 as f32, (1.0 - beta2) as f32);
        let all = on_every_level(3 * N, |level, out| {
            let (p, states) = out.split_at_mut(N);
            let (m, v) = states.split_at_mut(N);
            p.copy_from_slice(&value);
            m.copy_from_slice(&mean);
            v.copy_from_slice(&square);
            adamw_step(level, how, AdamWState { value: p, mean: m, square: v }, &gradient).unwrap();
        });
        for i in 0..N {
            let g = gradient[i];
            let m = mean[i] + each(mean_weight * each(g - mean[i]));
            let v = each(square[i] * square_decay) + each(square_weight * each(g * g));
            let ratio = each(m / each(each(v.sqrt() / correction) + 1e-8));
            let p = each(value[i] * decay) - each(step_size * ratio);
            assert!(same(all[i], p) && same(all[N + i], m) && same(all[2 * N + i], v), "{i}");
        }
    }
}
