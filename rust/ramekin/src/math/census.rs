//! What an array holds: its largest magnitude, and how many of its elements are not zero.

use crate::convert::Code;
use crate::isa::{Kernel, Level};
use crate::parallel::{self, ThreadsError};
use crate::simd::{Ahead, Simd};

/// Elements that one thread works through before it takes more.
const CHUNK: usize = 1 << 15;

/// Elements that are looked at side by side.
const LANES: usize = 128;

struct Largest<'a>(&'a [f32], Ahead);

impl Kernel for Largest<'_> {
    type Output = u32;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> u32 {
        let mut most = [0u32; LANES];
        for part in self.0.chunks(LANES) {
            self.1.bring(part);
            for (most, x) in most.iter_mut().zip(part) {
                *most = (*most).max(x.to_bits() & 0x7fff_ffff);
            }
        }
        most.into_iter().fold(0, u32::max)
    }
}

/// The largest magnitude, as bits so that NaN is the largest of all; 0 of nothing.
///
/// # Errors
///
/// If there can be no pool.
///
/// # Panics
///
/// If the CPU lacks `level`.
pub fn largest_magnitude(level: Level, x: &[f32]) -> Result<f32, ThreadsError> {
    let ahead = Ahead::of(x);
    let most = parallel::reduce(
        x.chunks(CHUNK),
        x.len().div_ceil(CHUNK),
        |x| level.run(Largest(x, ahead)),
        u32::max,
    )?;
    Ok(f32::from_bits(most))
}

struct Count<'a, C> {
    codes: &'a [C],
    mask: C,
    ahead: Ahead,
}

impl<C: Code + PartialEq> Kernel for Count<'_, C> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        let Self { codes, mask, ahead } = self;
        let mut total = 0;
        // No lane counts further than a byte can.
        for codes in codes.chunks(255 * LANES) {
            let mut lanes = [0u8; LANES];
            for part in codes.chunks(LANES) {
                ahead.bring(part);
                for (lane, &code) in lanes.iter_mut().zip(part) {
                    *lane += u8::from(C::truncate(code.widen() & mask.widen()) != C::truncate(0));
                }
            }
            total += lanes.into_iter().map(usize::from).sum::<usize>();
        }
        total
    }
}

/// How many codes have any bit of `mask`.
///
/// # Errors
///
/// If there can be no pool.
///
/// # Panics
///
/// If the CPU lacks `level`.
pub fn count_nonzero<C: Code + PartialEq>(level: Level, codes: &[C], mask: C) -> Result<usize, ThreadsError> {
    let ahead = Ahead::of(codes);
    let parts = codes.chunks(CHUNK);
    parallel::reduce(
        parts,
        codes.len().div_ceil(CHUNK),
        |codes| level.run(Count { codes, mask, ahead }),
        |a, b| a + b,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::tests::numbers;

    #[test]
    fn the_largest_magnitude_is_found_wherever_it_is() {
        for n in [1, 127, 129, CHUNK, 3 * CHUNK + 7] {
            for at in [0, n / 2, n - 1] {
                for most in [-5000.0, f32::INFINITY, f32::from_bits(0xffc0_0001)] {
                    let mut x = numbers(n, 3);
                    x[at] = most;
                    for level in Level::available() {
                        let found = largest_magnitude(level, &x).unwrap();
                        assert_eq!(found.to_bits(), most.abs().to_bits(), "{level} {n} {at}");
                    }
                }
            }
        }
        assert_eq!(largest_magnitude(Level::Portable, &[]).unwrap().to_bits(), 0);
    }

    #[test]
    fn codes_are_counted_under_the_mask() {
        fn check<C: Code + PartialEq>(mask: u32) {
            for n in [0, 1, 127, 129, CHUNK + 5, 255 * LANES + 1, 3 * CHUNK + 7] {
                let codes: Vec<C> = (0..n as u32)
                    .map(|i| C::truncate(if i % 3 == 0 { 0 } else { i.wrapping_mul(2654435761) >> (i % 29) }))
                    .collect();
                let right = codes.iter().filter(|code| code.widen() & mask != 0).count();
                for level in Level::available() {
                    assert_eq!(
                        count_nonzero(level, &codes, C::truncate(mask)).unwrap(),
                        right,
                        "{level} {n}"
                    );
                }
            }
        }
        for mask in [0x7f, 0xff, 0x0f, 0] {
            check::<u8>(mask);
        }
        for mask in [0x7fff, 0xffff] {
            check::<u16>(mask);
        }
        // All of them.
        assert_eq!(count_nonzero(Level::available().last().unwrap(), &[1u8; 1 << 20], 1).unwrap(), 1 << 20);
    }
}
