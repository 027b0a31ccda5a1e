//! Matrix products against the chain of exact fused multiply-adds.

mod operands;

use operands::{Owned, formats, generator, place};
use proptest::prelude::*;
use ramekin::format::{BFLOAT16, FLOAT16, FLOAT32};
use ramekin::isa::Level;
use ramekin::matmul::{Right, matmul};
use ramekin::{FloatFormat, parallel, reference};

fn check(
    (fa, fb): (&FloatFormat, &FloatFormat),
    (m, k, n): (usize, usize, usize),
    (ta, tb): (bool, bool),
    bits: &mut dyn FnMut() -> u32,
) {
    let a: Vec<u32> = (0..m * k).map(|_| bits()).collect();
    let b: Vec<u32> = (0..k * n).map(|_| bits()).collect();
    let (a, b) = (Owned::new(fa, &a), Owned::new(fb, &b));
    let (va, vb) = (a.values(fa), b.values(fb));
    let row = |i: usize| (0..k).map(|p| va[if ta { p * m + i } else { i * k + p }]).collect::<Vec<_>>();
    let column = |j: usize| (0..k).map(|p| vb[if tb { j * k + p } else { p * n + j }]).collect::<Vec<_>>();
    let right: Vec<u32> =
        (0..m * n).map(|at| reference::fma_chain(&row(at / n), &column(at % n)).to_bits()).collect();
    for level in Level::available() {
        let mut c = vec![f32::NAN; m * n];
        let (a, b) = (place(&a, fa, (m, k), ta), place(&b, fb, (k, n), tb));
        matmul(level, &a, Right::Operand(&b), &mut c).unwrap();
        for (at, (c, &right)) in c.iter().zip(&right).enumerate() {
            assert!(
                c.to_bits() == right,
                "{fa} x {fb} {m}x{k}x{n} {level}: element {at} is {:#x}, not {right:#x}",
                c.to_bits()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Random codes: every special value, every scale.
    #[test]
    fn equals_the_chain(fa in formats(), fb in formats(), m in 0usize..30, k in 0usize..24, n in 0usize..70,
                        ta: bool, tb: bool, seed: u64) {
        check((&fa, &fb), (m, k, n), (ta, tb), &mut generator(seed));
    }

    /// Vectors, long enough for every way of reading a matrix and for what is left over.
    #[test]
    fn vectors_equal_the_chain(fa in formats(), fb in formats(), k in 0usize..300, n in 1usize..220, turned: bool,
                               ta: bool, tb: bool, seed: u64) {
        let (m, n) = if turned { (n, 1) } else { (1, n) };
        check((&fa, &fb), (m, k, n), (ta, tb), &mut generator(seed));
    }

    /// Vectors without infinity or NaN, which would hide the rest.
    #[test]
    fn finite_vectors_equal_the_chain(fa in formats(), fb in formats(), k in 0usize..300, n in 1usize..220,
                                      ta: bool, tb: bool, seed: u64) {
        let mut bits = generator(seed);
        let narrow = |f: &FloatFormat| f.bits() <= 16;
        prop_assume!(narrow(&fa) && narrow(&fb));
        // The top exponent bit clear, whatever the width: small numbers of every format.
        let small = fa.bits().min(fb.bits());
        check((&fa, &fb), (1, k, n), (ta, tb), &mut || bits() & !(0x4040_4040 >> (8 - small.min(8))));
    }

    /// Subnormals and cancellation: small exponents, both signs.
    #[test]
    fn equals_the_chain_near_underflow(m in 1usize..8, k in 1usize..20, n in 1usize..40, seed: u64) {
        let mut bits = generator(seed);
        check((&FLOAT32, &FLOAT32), (m, k, n), (false, true), &mut || {
            let b = bits();
            (b & 0x807f_ffff) | (0x1f00_0000 + ((b >> 3) & 0x0180_0000))
        });
    }
}

/// Sizes around the blocks of depth, rows and columns, moderate values, and several threads.
#[test]
fn blocks_and_threads_do_not_show() {
    let mut bits = generator(7);
    for (m, k, n) in
        [(150, 300, 40), (1, 700, 333), (300, 257, 17), (7, 3, 2100), (14, 1030, 35), (30, 2100, 66)]
    {
        for (fa, fb) in [(&FLOAT32, &FLOAT32), (&BFLOAT16, &FLOAT16), (&BFLOAT16, &BFLOAT16)] {
            let a: Vec<u32> = (0..m * k).map(|_| bits()).collect();
            let b: Vec<u32> = (0..k * n).map(|_| bits()).collect();
            // Exponents near one, so that sums neither overflow nor vanish.
            let tame = |format: &FloatFormat, x: u32| match format.bits() {
                32 => (x & 0x807f_ffff) | 0x3f80_0000,
                _ if *format == BFLOAT16 => (x & 0x807f) | 0x3f80,
                _ => (x & 0x83ff) | 0x3c00,
            };
            let a = Owned::new(fa, &a.iter().map(|&x| tame(fa, x)).collect::<Vec<_>>());
            let b = Owned::new(fb, &b.iter().map(|&x| tame(fb, x)).collect::<Vec<_>>());
            let (oa, ob) = (place(&a, fa, (m, k), false), place(&b, fb, (k, n), false));
            let (va, vb) = (a.values(fa), b.values(fb));
            let mut chain = vec![0.0f32; m * n];
            for i in 0..m {
                for p in 0..k {
                    for j in 0..n {
                        chain[i * n + j] = va[i * k + p].mul_add(vb[p * n + j], chain[i * n + j]);
                    }
                }
            }
            for threads in 1..=3 {
                parallel::set_threads(threads).unwrap();
                for level in Level::available() {
                    let mut c = vec![f32::NAN; m * n];
                    matmul(level, &oa, Right::Operand(&ob), &mut c).unwrap();
                    assert!(c == chain, "{fa} x {fb} {m}x{k}x{n} {level} {threads} threads");
                }
            }
        }
    }
}

#[test]
fn empty_sums_are_zero() {
    let none = Owned::F32(vec![]);
    let a = place(&none, &FLOAT32, (3, 0), false);
    let b = place(&none, &FLOAT32, (0, 2), false);
    let mut c = [f32::NAN; 6];
    matmul(Level::Portable, &a, Right::Operand(&b), &mut c).unwrap();
    assert_eq!(c.map(f32::to_bits), [0; 6]);
}
