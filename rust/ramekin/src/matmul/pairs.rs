//! Whether this CPU's instruction for pairs of bfloat16 does what the definition says, and whether it pays.

use std::sync::OnceLock;

use super::panel::Unit;
use super::peak::Peak;
use crate::isa::{Kernel, Level};
use crate::simd::Simd;

/// Whether the level has the instruction, and two terms by it are two fused multiply-adds wherever no subnormals
/// occur. Tried once.
pub(super) fn agree(level: Level) -> bool {
    static AGREE: OnceLock<bool> = OnceLock::new();
    level.run(HasPairs) && *AGREE.get_or_init(|| level.run(Try))
}

/// Whether a level has the instruction.
struct HasPairs;

impl Kernel for HasPairs {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        S::HAS_PAIRS
    }
}

/// Whether two terms by the instruction take less time than by two fused multiply-adds: on some CPUs they take more.
/// Tried once, in less than a millisecond. The bits are the same either way.
pub(super) fn pay(level: Level) -> bool {
    static PAY: OnceLock<bool> = OnceLock::new();
    #[cfg(test)]
    if tests::FORCED.load(std::sync::atomic::Ordering::Relaxed) {
        return agree(level);
    }
    agree(level)
        && *PAY.get_or_init(|| {
            // The best of a few: interruptions only ever make it slower.
            let best = |unit| (0..4).map(|_| level.run(Peak { unit, lines: 1 << 11 })).fold(0.0, f64::max);
            best(Unit::Pair) > 1.1 * best(Unit::Float)
        })
}

/// Compares the instruction with the definition on numbers whose sums tell the order of the terms, the rounding of
/// each, and what happens to infinity and NaN.
struct Try;

impl Kernel for Try {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        let mut all = true;
        for round in 0..256 {
            // Exponents spread over 1, 4, 16 or 64 powers of two, far from underflow; now and then a special.
            let spread = (1 << (2 * (round % 4))) - 1;
            // The chain starts at +0, so it never comes to -0 without underflow: that is no running value to try.
            let mut number = |mantissa: u32, zero: u32| {
                let bits = random();
                let exponent = 127 - spread / 2 + ((bits >> 8) & spread);
                match bits >> 24 {
                    0 => 0x7f80_0000 | (bits & 0x8000_0000),
                    1 => 0x7fc0_0000,
                    2 => bits & zero,
                    _ => (random() & (0x8000_0000 | mantissa)) | (exponent << 23),
                }
            };
            let mut terms = [[0.0f32; 16]; 5];
            for (i, terms) in terms.iter_mut().enumerate() {
                let (mantissa, zero) = if i == 4 { (0x007f_ffff, 0) } else { (0x007f_0000, 0x8000_0000) };
                terms.fill_with(|| f32::from_bits(number(mantissa, zero)));
            }
            let [a0, b0, a1, b1, c] = terms;
            let pair = |x: [f32; 16], y: [f32; 16]| -> [f32; 16] {
                std::array::from_fn(|i| f32::from_bits(x[i].to_bits() | (y[i].to_bits() >> 16)))
            };
            let (a, b) = (pair(a0, a1), pair(b0, b1));
            let (mut one, mut two) = ([0.0f32; 16], [0.0f32; 16]);
            for at in (0..16).step_by(S::LANES) {
                // SAFETY: LANES divides 16, so the lanes from `at` on exist.
                unsafe {
                    let load = |x: &[f32; 16]| simd.load(x.as_ptr().add(at));
                    let pairs = simd.fma_pairs(load(&a), load(&b), load(&c));
                    let first = simd.fma(load(&a0), load(&b0), load(&c));
                    let chain = simd.fma(load(&a1), load(&b1), first);
                    simd.store(one.as_mut_ptr().add(at), simd.canonical(pairs));
                    simd.store(two.as_mut_ptr().add(at), simd.canonical(chain));
                }
            }
            all &= one.map(f32::to_bits) == two.map(f32::to_bits);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::BFLOAT16;
    use crate::matmul::{Codes, Operand, PackedMatrix, Right, matmul};
    use crate::reference;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Takes pairs for worth it, so that this test multiplies by them on every CPU that has them. Others that run
    /// meanwhile do too: the bits are the same.
    pub(super) static FORCED: AtomicBool = AtomicBool::new(false);

    /// Magnitudes from 2^low to 2^(low + 31) with eight significant bits, and now and then a special value.
    fn numbers(n: usize, low: u32, specials: bool, state: &mut u64) -> Vec<u16> {
        (0..n)
            .map(|_| {
                *state =
                    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let bits = (*state >> 32) as u32;
                let code = (bits & 0x807f) | ((low + ((bits >> 16) & 31)) << 7);
                (if specials && bits >> 26 == 0 {
                    [0x7f80, 0xff80, 0x7fc0, 0x8000][(bits & 3) as usize]
                } else {
                    code
                }) as u16
            })
            .collect()
    }

    #[test]
    fn pairs_are_the_chain_or_are_not_taken() {
        FORCED.store(true, Ordering::Relaxed);
        let mut state = 7;
        // Exponent fields: far from underflow, at its edge (where the instruction alone would flush), subnormal.
        for (low_a, low_b) in [(110, 120), (64, 64), (56, 60), (40, 55), (0, 100), (0, 0)] {
            for (m, k, n) in [(3, 50, 40), (14, 1100, 35), (30, 33, 70)] {
                for specials in [false, true] {
                    let a = numbers(m * k, low_a, specials, &mut state);
                    let b = numbers(k * n, low_b, specials, &mut state);
                    let value = |code: u16| f32::from_bits(u32::from(code) << 16);
                    let chains: Vec<u32> = (0..m * n)
                        .map(|at| {
                            let row: Vec<f32> = a[at / n * k..][..k].iter().map(|&x| value(x)).collect();
                            let column: Vec<f32> = (0..k).map(|p| value(b[p * n + at % n])).collect();
                            reference::fma_chain(&row, &column).to_bits()
                        })
                        .collect();
                    let (x, y) = (matrix(&a, (m, k)), matrix(&b, (k, n)));
                    for level in Level::available() {
                        let packed = PackedMatrix::new(level, &y).unwrap();
                        for right in [Right::Operand(&y), Right::Packed(&packed)] {
                            let mut c = vec![f32::NAN; m * n];
                            matmul(level, &x, right, &mut c).unwrap();
                            let same = c.iter().map(|x| x.to_bits()).eq(chains.iter().copied());
                            assert!(same, "{low_a} {low_b} {m}x{k}x{n} {specials} {level}");
                        }
                    }
                }
            }
        }
        FORCED.store(false, Ordering::Relaxed);
    }

    fn matrix(codes: &[u16], shape: (usize, usize)) -> Operand<'_> {
        Operand::row_major(Codes::U16(codes), &BFLOAT16, shape).unwrap()
    }

    #[test]
    fn the_instruction_alone_would_flush() {
        struct Flush;
        impl Kernel for Flush {
            type Output = Option<f32>;
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) -> Option<f32> {
                if !S::HAS_PAIRS {
                    return None;
                }
                // 2^-70 times 2^-70 is a subnormal float32.
                let tiny = simd.splat(f32::from_bits((127 - 70) << 23));
                let mut out = [f32::NAN; 16];
                // SAFETY: no vector has more than 16 lanes.
                unsafe { simd.store(out.as_mut_ptr(), simd.fma_pairs(tiny, tiny, simd.splat(0.0))) };
                Some(out[0])
            }
        }
        for level in Level::available() {
            assert!(matches!(level.run(Flush), None | Some(0.0)), "{level} keeps subnormals");
        }
    }
}
