//! Chains along lines of a matrix that are decoded on the way to the registers.

use super::source::{MOST, Source, Words};
use crate::simd::{Simd, prefetch};

/// Continues the chains of `c` by one line for each of `x`; neighbouring lines are `stride` apart. Returns how many
/// elements of `c` were continued: all but those that fill no step.
///
/// # Safety
///
/// As many elements as `c` has must be readable at each line from `lines` on.
#[inline(always)]
pub(super) unsafe fn strip<S: Simd, Q: Source<S>>(
    simd: S,
    source: Q,
    lines: *const Q::Element,
    stride: isize,
    x: &[f32],
    c: &mut [f32],
) -> usize {
    let step = Q::VECTORS * S::LANES;
    let mut done = 0;
    // SAFETY: the caller vouches for the lines; the steps lie within `c`.
    unsafe {
        while done + 2 * step <= c.len() {
            group::<S, Q, 2>(simd, source, lines.add(done), stride, x, c.as_mut_ptr().add(done));
            done += 2 * step;
        }
        while done + step <= c.len() {
            group::<S, Q, 1>(simd, source, lines.add(done), stride, x, c.as_mut_ptr().add(done));
            done += step;
        }
    }
    done
}

/// # Safety
///
/// `G` steps must be readable at each line and writable at `c`.
#[inline(always)]
unsafe fn group<S: Simd, Q: Source<S>, const G: usize>(
    simd: S,
    source: Q,
    lines: *const Q::Element,
    stride: isize,
    x: &[f32],
    c: *mut f32,
) {
    let step = Q::VECTORS * S::LANES;
    let mut chains = [[simd.splat(0.0); MOST]; G];
    // SAFETY: the caller vouches for all that is read and written.
    unsafe {
        for (g, chains) in chains.iter_mut().enumerate() {
            for (i, chain) in chains.iter_mut().enumerate().take(Q::VECTORS) {
                *chain = simd.load(c.add(g * step + i * S::LANES));
            }
        }
        for (k, &x) in x.iter().enumerate() {
            let line = lines.offset(k as isize * stride);
            let x = simd.splat(x);
            for (g, chains) in chains.iter_mut().enumerate() {
                let values = source.load(simd, line.add(g * step));
                for (chain, &value) in chains.iter_mut().zip(values.as_ref()) {
                    *chain = simd.fma(x, value, *chain);
                }
            }
        }
        for (g, chains) in chains.iter().enumerate() {
            for (i, &chain) in chains.iter().enumerate().take(Q::VECTORS) {
                simd.store(c.add(g * step + i * S::LANES), chain);
            }
        }
    }
}

/// Continues the chains of `c`, `G` times `LANES`, by as much of `x` as whole squares of words take: neighbours in
/// memory belong to one row, and `rows` are `stride` elements apart. Returns how much.
///
/// # Safety
///
/// As many elements as `x` has must be readable at each row.
#[inline(always)]
pub(super) unsafe fn along<S: Simd, Q: Words<S>, const G: usize>(
    simd: S,
    source: Q,
    rows: *const Q::Element,
    stride: isize,
    x: &[f32],
    c: &mut [f32],
) -> usize {
    assert!(c.len() == G * S::LANES);
    let step = S::LANES * Q::ELEMENTS;
    let whole = x.len() / step * step;
    let mut words = [[0u32; 16 * 16]; G];
    let mut chains = [simd.splat(0.0); G];
    // SAFETY: the caller vouches for the rows; squares are of LANES words, at most 16.
    unsafe {
        for (g, chain) in chains.iter_mut().enumerate() {
            *chain = simd.load(c.as_ptr().add(g * S::LANES));
        }
        for at in (0..whole).step_by(step) {
            for (g, words) in words.iter_mut().enumerate() {
                let from = rows.offset((g * S::LANES) as isize * stride).add(at);
                turn(simd, from.cast::<u8>(), stride * size_of::<Q::Element>() as isize, words);
            }
            for (q, x) in x[at..at + step].chunks_exact(Q::ELEMENTS).enumerate() {
                for (chain, words) in chains.iter_mut().zip(&words) {
                    let values = source.split(simd, words.as_ptr().add(q * S::LANES));
                    for (&x, &value) in x.iter().zip(values.as_ref()) {
                        *chain = simd.fma(simd.splat(x), value, *chain);
                    }
                }
            }
        }
        for (g, &chain) in chains.iter().enumerate() {
            simd.store(c.as_mut_ptr().add(g * S::LANES), chain);
        }
    }
    whole
}

/// Turns a square of words whose rows are `stride` bytes apart.
///
/// # Safety
///
/// `LANES` words must be readable at each of `LANES` rows.
#[inline(always)]
unsafe fn turn<S: Simd>(simd: S, from: *const u8, stride: isize, words: &mut [u32; 256]) {
    // SAFETY: the caller vouches for the rows.
    unsafe {
        for row in 0..S::LANES as isize {
            // Lines far apart: the CPU does not foresee them.
            prefetch(from.wrapping_offset(row * stride + AHEAD));
        }
        simd.transpose(from, stride, words.as_mut_ptr(), S::LANES);
    }
}

/// Bytes to fetch ahead in each row.
const AHEAD: isize = 256;
