//! Whether this CPU's instruction for pairs of bfloat16 does what the definition says, and whether it pays.

use std::sync::OnceLock;

use super::panel::Unit;
use super::peak::Peak;
use crate::isa::{Kernel, Level};
use crate::once::once;
use crate::simd::Simd;

/// Whether the level has the instruction, and two terms by it are two fused multiply-adds wherever no subnormals
/// occur. Tried once.
pub(super) fn agree(level: Level) -> bool {
    static AGREE: OnceLock<bool> = OnceLock::new();
    level.run(HasPairs) && *once(&AGREE, || level.run(Try))
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
    if tests::FORCING.load(std::sync::atomic::Ordering::Relaxed) > 0 {
        return agree(level);
    }
    agree(level)
        && *once(&PAY, || {
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
    use crate::convert::decode;
    use crate::format::BFLOAT16;
    use crate::format::{FLOAT32, FloatFormat};
    use crate::matmul::{Codes, Operand, PackedMatrix, Right, Scales, matmul};
    use crate::reference;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// How many tests take pairs for worth it.
    pub(super) static FORCING: AtomicUsize = AtomicUsize::new(0);

    /// Takes pairs for worth it, so that a test multiplies by them on every CPU that has them. Others that run
    /// meanwhile do too: the bits are the same.
    struct Forced;

    impl Forced {
        fn new() -> Self {
            FORCING.fetch_add(1, Ordering::Relaxed);
            Self
        }
    }

    impl Drop for Forced {
        fn drop(&mut self) {
            FORCING.fetch_sub(1, Ordering::Relaxed);
        }
    }

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
        let _forced = Forced::new();
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
    }

    fn matrix(codes: &[u16], shape: (usize, usize)) -> Operand<'_> {
        Operand::row_major(Codes::U16(codes), &BFLOAT16, shape).unwrap()
    }

    /// Scaled elements that pairs hold, hold in some blocks, or do not hold, against their chains.
    #[test]
    fn scaled_pairs_are_the_chain_or_are_not_taken() {
        let _forced = Forced::new();
        let (e4m3, e8m0) =
            (FloatFormat::named("float8_e4m3fn").unwrap(), FloatFormat::named("float8_e8m0fnu").unwrap());
        let (m, k, n) = (14usize, 2200usize, 35usize);
        let blocks = k.div_ceil(32);
        let mut state = 11;
        let mut codes =
            |n| -> Vec<u8> { numbers(n, 100, false, &mut state).iter().map(|x| *x as u8 & 0xbe).collect() };
        let (a, b) = (codes(m * k), codes(k * n));
        let values = |codes: &[u8]| {
            let mut values = vec![0.0; codes.len()];
            decode(Level::Portable, e4m3, codes, &mut values);
            values
        };
        let (va, vb): (Vec<f64>, Vec<f64>) = (values(&a), values(&b));
        // Of block `i` along k: far from underflow, at its edge, subnormal bfloat16, and none of bfloat16's, there
        // first, last, or everywhere.
        type Scale = fn(usize) -> u8;
        let scales: [Scale; 7] = [
            |_| 127,
            |_| 64,
            |i| if i == 40 { 4 } else { 127 },
            |_| 0,
            |i| if i == 0 { 0 } else { 120 },
            |i| if i == 68 { 0 } else { 120 },
            |i| (i as u8) % 3,
        ];
        for (of_a, of_b) in scales.iter().flat_map(|a| scales.iter().map(move |b| (a, b))) {
            let scaled =
                |value: f64, p: usize, of: &Scale| (value * 2f64.powi(i32::from(of(p / 32)) - 127)) as f32;
            let chains: Vec<u32> = (0..m * n)
                .map(|at| {
                    let (i, j) = (at / n, at % n);
                    let term = |c: f32, p: usize| {
                        let (x, y) = (scaled(va[i * k + p], p, of_a), scaled(vb[p * n + j], p, of_b));
                        x.mul_add(y, c)
                    };
                    (0..k).fold(0.0, term).to_bits()
                })
                .collect();
            let scales_a: Vec<u8> = (0..m * blocks).map(|i| of_a(i % blocks)).collect();
            let scales_b: Vec<u8> = (0..blocks * n).map(|i| of_b(i / n)).collect();
            let scaled = |codes, shape, scales, block, stride| {
                let scales = Scales::new(Codes::U8(scales), e8m0, block, (stride, 1), 0).unwrap();
                Operand::row_major(Codes::U8(codes), e4m3, shape).unwrap().scaled(scales).unwrap()
            };
            let x = scaled(&a, (m, k), &scales_a, (1, 32), blocks as isize);
            let y = scaled(&b, (k, n), &scales_b, (32, 1), n as isize);
            assert_chains(&x, &y, &chains);
        }
    }

    /// Tiles of k that hold whole pairs, and ones that do not.
    #[test]
    fn tiles_of_pairs_are_chains_of_their_own() {
        let _forced = Forced::new();
        let (m, k, n) = (14usize, 1300usize, 35usize);
        let mut state = 12;
        let (a, b) = (numbers(m * k, 110, false, &mut state), numbers(k * n, 60, false, &mut state));
        let value = |code: u16| f32::from_bits(u32::from(code) << 16);
        for tile in [2, 7, 128, 300, 511, 512, 600] {
            let tiles = k.div_ceil(tile);
            let scales_a: Vec<f32> = (0..m * tiles).map(|i| 1.0 + i as f32 / 64.0).collect();
            let scales_b: Vec<f32> = (0..tiles * n).map(|i| 1.0 / (1.0 + i as f32)).collect();
            let mut chains = vec![0; m * n];
            for (at, chain) in chains.iter_mut().enumerate() {
                let (i, j) = (at / n, at % n);
                let mut c = 0.0f32;
                for t in 0..tiles {
                    let terms = t * tile..k.min((t + 1) * tile);
                    let term = |c: f32, p: usize| value(a[i * k + p]).mul_add(value(b[p * n + j]), c);
                    c = terms.fold(0.0, term).mul_add(scales_a[i * tiles + t] * scales_b[t * n + j], c);
                }
                *chain = c.to_bits();
            }
            let scales = |values, block, stride| {
                Scales::new(Codes::F32(values), &FLOAT32, block, (stride, 1), 0).unwrap()
            };
            let x = matrix(&a, (m, k)).scaled(scales(&scales_a, (1, tile), tiles as isize)).unwrap();
            let y = matrix(&b, (k, n)).scaled(scales(&scales_b, (tile, 1), n as isize)).unwrap();
            assert_chains(&x, &y, &chains);
        }
    }

    fn assert_chains(x: &Operand<'_>, y: &Operand<'_>, chains: &[u32]) {
        for level in Level::available() {
            let packed = PackedMatrix::new(level, y);
            for right in
                [Some(Right::Operand(y)), packed.as_ref().ok().map(Right::Packed)].into_iter().flatten()
            {
                let mut c = vec![f32::NAN; chains.len()];
                matmul(level, x, right, &mut c).unwrap();
                let same = c.iter().map(|x| x.to_bits()).eq(chains.iter().copied());
                assert!(same, "{level}");
            }
        }
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
