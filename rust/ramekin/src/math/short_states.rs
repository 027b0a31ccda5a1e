//! Steps of optimisers that keep what they know of each parameter in bfloat16.
//!
//! A step reads the state at its exact value, is that of [`super::sgd_step`] and [`super::adamw_step`] in float32, moves
//! the parameters by it, and rounds the new state stochastically: to nearest, an average that moves by less than half a
//! unit in the last place would stand still. Element `i` of an array reads word `i` of its seed.

use super::adamw::{AdamW, AdamWNumbers};
use super::sgd::{Sgd, SgdNumbers};
use super::steps::CHUNK;
use crate::isa::{Kernel, Level};
use crate::parallel::{self, ThreadsError};
use crate::random;
use crate::simd::Simd;

/// Elements whose words are made at a time.
const BLOCK: usize = random::BLOCK;

/// Codes of bfloat16, and the seed of their rounding.
#[derive(Debug)]
pub struct ShortState<'a> {
    /// The codes.
    pub codes: &'a mut [u16],
    /// Of the words that this step rounds with.
    pub seed: u64,
}

/// A part of a state whose first element has the word at `4 * block`.
struct Part<'a> {
    codes: &'a mut [u16],
    seed: u64,
    block: u64,
}

impl<'a> ShortState<'a> {
    fn parts(self) -> impl Iterator<Item = Part<'a>> {
        let Self { codes, seed } = self;
        codes.chunks_mut(CHUNK).enumerate().map(move |(i, codes)| {
            let block = (i * CHUNK / 4) as u64;
            Part { codes, seed, block }
        })
    }
}

#[inline(always)]
fn value(code: u16) -> f32 {
    f32::from_bits(u32::from(code) << 16)
}

/// Rounds to bfloat16, up in magnitude where the lower half of the bits and that of a word carry. Infinity, and the
/// canonical NaN, have nothing there that could.
#[inline(always)]
fn rounded(x: f32, word: u32) -> u16 {
    (x.to_bits().wrapping_add(word >> 16) >> 16) as u16
}

/// A block with `x` at its front and zeros behind.
#[inline(always)]
fn padded<T: Copy + Default>(x: &[T]) -> [T; BLOCK] {
    let mut block = [T::default(); BLOCK];
    block[..x.len()].copy_from_slice(x);
    block
}

struct SgdStep<'a> {
    how: Sgd,
    value: &'a mut [f32],
    gradient: &'a [f32],
    buffer: Part<'a>,
}

#[inline(always)]
fn sgd_block(
    numbers: SgdNumbers,
    first: bool,
    p: &mut [f32; BLOCK],
    g: &[f32; BLOCK],
    b: &mut [u16; BLOCK],
    words: &[u32; BLOCK],
) {
    for k in 0..BLOCK {
        let later = numbers.later(p[k], g[k], value(b[k]));
        let (value, buffer) = if first { numbers.first(p[k], g[k]) } else { later };
        p[k] = value;
        b[k] = rounded(buffer, words[k]);
    }
}

impl Kernel for SgdStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (numbers, first) = (SgdNumbers::of(self.how), self.how.first);
        let Part { codes, seed, mut block } = self.buffer;
        let mut words = [0; BLOCK];
        let (ps, p_rest) = self.value.as_chunks_mut();
        let (gs, g_rest) = self.gradient.as_chunks();
        let (bs, b_rest) = codes.as_chunks_mut();
        for ((p, g), b) in ps.iter_mut().zip(gs).zip(bs) {
            random::fill(seed, block, &mut words);
            sgd_block(numbers, first, p, g, b, &words);
            block += BLOCK as u64 / 4;
        }
        random::fill(seed, block, &mut words);
        let (mut p, mut b) = (padded(p_rest), padded(b_rest));
        sgd_block(numbers, first, &mut p, &padded(g_rest), &mut b, &words);
        p_rest.copy_from_slice(&p[..p_rest.len()]);
        b_rest.copy_from_slice(&b[..b_rest.len()]);
    }
}

/// Takes a step of stochastic gradient descent with momentum, the buffer in bfloat16.
///
/// # Errors
///
/// If there can be no pool.
///
/// # Panics
///
/// If the lengths differ or the CPU lacks `level`.
pub fn sgd_step_short(
    level: Level,
    how: Sgd,
    value: &mut [f32],
    gradient: &[f32],
    buffer: ShortState<'_>,
) -> Result<(), ThreadsError> {
    let n = value.len();
    assert!(n == gradient.len() && n == buffer.codes.len(), "the lengths differ");
    let parts = value.chunks_mut(CHUNK).zip(gradient.chunks(CHUNK)).zip(buffer.parts());
    parallel::share(parts, n.div_ceil(CHUNK), |((value, gradient), buffer)| {
        level.run(SgdStep { how, value, gradient, buffer });
    })
}

struct AdamWStep<'a> {
    how: AdamW,
    value: &'a mut [f32],
    gradient: &'a [f32],
    mean: Part<'a>,
    square: Part<'a>,
}

#[inline(always)]
fn adamw_block(
    numbers: AdamWNumbers,
    p: &mut [f32; BLOCK],
    g: &[f32; BLOCK],
    [m, v]: [&mut [u16; BLOCK]; 2],
    words: &[[u32; BLOCK]; 2],
) {
    for k in 0..BLOCK {
        let (value, mean, square) = numbers.after(p[k], g[k], value(m[k]), value(v[k]));
        p[k] = value;
        m[k] = rounded(mean, words[0][k]);
        v[k] = rounded(square, words[1][k]);
    }
}

impl Kernel for AdamWStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let numbers = AdamWNumbers::of(self.how);
        let (seeds, mut block) = ([self.mean.seed, self.square.seed], self.mean.block);
        let mut words = [[0; BLOCK]; 2];
        let (ps, p_rest) = self.value.as_chunks_mut();
        let (gs, g_rest) = self.gradient.as_chunks();
        let (ms, m_rest) = self.mean.codes.as_chunks_mut();
        let (vs, v_rest) = self.square.codes.as_chunks_mut();
        for (((p, g), m), v) in ps.iter_mut().zip(gs).zip(ms).zip(vs) {
            random::fill(seeds[0], block, &mut words[0]);
            random::fill(seeds[1], block, &mut words[1]);
            adamw_block(numbers, p, g, [m, v], &words);
            block += BLOCK as u64 / 4;
        }
        random::fill(seeds[0], block, &mut words[0]);
        random::fill(seeds[1], block, &mut words[1]);
        let (mut p, mut m, mut v) = (padded(p_rest), padded(m_rest), padded(v_rest));
        adamw_block(numbers, &mut p, &padded(g_rest), [&mut m, &mut v], &words);
        p_rest.copy_from_slice(&p[..p_rest.len()]);
        m_rest.copy_from_slice(&m[..m_rest.len()]);
        v_rest.copy_from_slice(&v[..v_rest.len()]);
    }
}

/// Takes a step of AdamW, the averages in bfloat16.
///
/// # Errors
///
/// As [`sgd_step_short`].
///
/// # Panics
///
/// As [`sgd_step_short`].
pub fn adamw_step_short(
    level: Level,
    how: AdamW,
    value: &mut [f32],
    gradient: &[f32],
    mean: ShortState<'_>,
    square: ShortState<'_>,
) -> Result<(), ThreadsError> {
    let n = value.len();
    let states = [mean.codes.len(), square.codes.len()];
    assert!(n == gradient.len() && states == [n; 2], "the lengths differ");
    let parts = value.chunks_mut(CHUNK).zip(gradient.chunks(CHUNK)).zip(mean.parts()).zip(square.parts());
    parallel::share(parts, n.div_ceil(CHUNK), |(((value, gradient), mean), square)| {
        level.run(AdamWStep { how, value, gradient, mean, square });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rounding;
    use crate::convert::{Conversion, encode};
    use crate::format::BFLOAT16;
    use crate::isa;
    use crate::math::tests::{numbers, on_every_level};
    use crate::math::{AdamWState, adamw_step, sgd_step};
    use crate::random::Words;

    const N: usize = 2 * CHUNK + 3 * BLOCK + 5;

    fn codes(x: &[f32], seed: u64) -> Vec<u16> {
        let how = Conversion {
            rounding: Rounding::Stochastic,
            saturate: false,
            words: Words { seed, position: 0 },
        };
        let mut codes = vec![0u16; x.len()];
        encode(isa::active().unwrap(), &BFLOAT16, how, x, &mut codes);
        codes
    }

    fn values(codes: &[u16]) -> Vec<f32> {
        codes.iter().map(|&code| value(code)).collect()
    }

    /// Numbers, among them those that bfloat16's overflow, subnormals and specials are about.
    fn with_specials(seed: u64) -> Vec<f32> {
        let mut x = numbers(N, seed);
        let specials = [0.0, -0.0, f32::INFINITY, f32::NAN, 1e-40, -f32::MAX, f32::MIN_POSITIVE];
        for (i, special) in specials.into_iter().enumerate() {
            x[97 * (i + seed as usize)] = special;
        }
        x
    }

    /// The float32 step, and what `encode` rounds its states to.
    #[test]
    fn steps_are_float32s_with_rounded_states() {
        let (p, g) = (with_specials(1), with_specials(2));
        let (m, v) = (codes(&with_specials(3), 0), codes(&numbers(N, 4), 0));
        let v: Vec<u16> = v.iter().map(|v| v & 0x7fff).collect();
        let how = AdamW { rate: 0.1, betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.1, step: 3 };
        let (mut value, mut mean, mut square) = (p.clone(), values(&m), values(&v));
        let state = AdamWState { value: &mut value, mean: &mut mean, square: &mut square };
        adamw_step(isa::active().unwrap(), how, state, &g).unwrap();
        let right = [value, values(&codes(&mean, 7)), values(&codes(&square, 8))].concat();
        let all = on_every_level(3 * N, |level, out| {
            let (mut mean, mut square) = (m.clone(), v.clone());
            out[..N].copy_from_slice(&p);
            let (mean_state, square_state) =
                (ShortState { codes: &mut mean, seed: 7 }, ShortState { codes: &mut square, seed: 8 });
            adamw_step_short(level, how, &mut out[..N], &g, mean_state, square_state).unwrap();
            out[N..].copy_from_slice(&[values(&mean), values(&square)].concat());
        });
        assert!(all.iter().zip(&right).all(|(a, b)| a.to_bits() == b.to_bits()));

        for first in [true, false] {
            let how = Sgd { rate: 0.1, weight_decay: 0.1, momentum: 0.9, first };
            let (mut value, mut buffer) = (p.clone(), values(&m));
            sgd_step(isa::active().unwrap(), how, &mut value, &g, Some(&mut buffer)).unwrap();
            let right = [value, values(&codes(&buffer, 9))].concat();
            let all = on_every_level(2 * N, |level, out| {
                let mut buffer = m.clone();
                out[..N].copy_from_slice(&p);
                let state = ShortState { codes: &mut buffer, seed: 9 };
                sgd_step_short(level, how, &mut out[..N], &g, state).unwrap();
                out[N..].copy_from_slice(&values(&buffer));
            });
            assert!(all.iter().zip(&right).all(|(a, b)| a.to_bits() == b.to_bits()), "{first}");
        }
    }
}
