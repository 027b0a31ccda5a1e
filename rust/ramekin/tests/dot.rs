//! Dot products against 64 chains of exact fused multiply-adds and their tree.

mod operands;

use operands::{Owned, formats, generator, storable};
use proptest::prelude::*;
use ramekin::dot::dot;
use ramekin::format::{BFLOAT16, FLOAT32};
use ramekin::isa::Level;
use ramekin::matmul::Operand;
use ramekin::{FloatFormat, reference};

/// How a vector of `n` elements lies among codes: the first at `before`, or the last if the stride is negative.
#[derive(Clone, Copy, Debug)]
struct Layout {
    before: usize,
    stride: isize,
}

const PLAIN: Layout = Layout { before: 0, stride: 1 };

impl Layout {
    fn len(self, n: usize) -> usize {
        self.before + n.saturating_sub(1) * self.stride.unsigned_abs() + 1
    }

    fn at(self, i: usize, n: usize) -> usize {
        let steps = if self.stride < 0 { n - 1 - i } else { i };
        self.before + steps * self.stride.unsigned_abs()
    }

    fn place<'a>(self, owned: &'a Owned, format: &'a FloatFormat, n: usize) -> Operand<'a> {
        let first = if n == 0 { self.before } else { self.at(0, n) };
        Operand::new(owned.codes(), format, (1, n), (0, self.stride), first).unwrap()
    }
}

/// Compares every level with the reference; `bits` is asked for the codes of `a`, then for those of `b`.
fn check(
    formats: [&FloatFormat; 2],
    n: usize,
    layouts: [Layout; 2],
    bits: &mut dyn FnMut(&FloatFormat) -> u32,
) {
    let owned: [Owned; 2] = std::array::from_fn(|i| {
        let codes: Vec<u32> = (0..layouts[i].len(n)).map(|_| bits(formats[i])).collect();
        Owned::new(formats[i], &codes)
    });
    let [a, b]: [Vec<f32>; 2] = std::array::from_fn(|i| {
        let values = owned[i].values(formats[i]);
        (0..n).map(|k| values[layouts[i].at(k, n)]).collect()
    });
    let right = reference::dot(&a, &b).to_bits();
    let [a, b] = std::array::from_fn(|i| layouts[i].place(&owned[i], formats[i], n));
    for level in Level::available() {
        let got = dot(level, &a, &b).to_bits();
        let [fa, fb] = formats;
        assert!(got == right, "{fa} . {fb} of {n} {level} {layouts:?}: {got:#x}, not {right:#x}");
    }
}

/// A code of a number: the lower half of the exponents, which leaves infinity and NaN out, for float32 near one.
fn tame(format: &FloatFormat, bits: u32) -> u32 {
    if *format == FLOAT32 {
        return (bits & 0x807f_ffff) | (0x3c00_0000 + ((bits & 7) << 23));
    }
    let top_exponent_bit = 1 << (format.bits() - 1 - u32::from(format.signed));
    let code = bits & (format.sign_bit() | format.magnitude_mask()) & !top_exponent_bit;
    // Formats without negative zero have a NaN there.
    if code == format.sign_bit() { 0 } else { code }
}

fn layouts() -> impl Strategy<Value = Layout> {
    // Every place within a vector register, contiguous more often than not.
    (0usize..70, prop_oneof![Just(1isize), Just(1), -3isize..4])
        .prop_map(|(before, stride)| Layout { before, stride })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Random codes: every special value, every scale.
    #[test]
    fn equals_the_definition(fa in formats(), fb in formats(), n in 0usize..300,
                             la in layouts(), lb in layouts(), seed: u64) {
        let mut bits = generator(seed);
        check([&fa, &fb], n, [la, lb], &mut |_| bits());
    }

    /// Numbers only, which infinity and NaN do not hide.
    #[test]
    fn numbers_equal_the_definition(fa in formats(), fb in formats(), n in 0usize..300,
                                    la in layouts(), lb in layouts(), seed: u64) {
        let mut bits = generator(seed);
        check([&fa, &fb], n, [la, lb], &mut |format| tame(format, bits()));
    }

    /// One special code, somewhere in one of several blocks.
    #[test]
    fn a_special_code_counts_where_it_is(fa in formats(), fb in formats(), n in 1usize..1300, at: prop::sample::Index,
                                         seed: u64) {
        let (mut bits, at) = (generator(seed), at.index(n));
        let mut asked = 0;
        check([&fa, &fb], n, [PLAIN; 2], &mut |format| {
            asked += 1;
            if asked == at + 1 { format.nan_code().unwrap_or(0) } else { tame(format, bits()) }
        });
    }

    /// Subnormals and cancellation: small exponents, both signs.
    #[test]
    fn equals_the_definition_near_underflow(n in 0usize..300, seed: u64) {
        let mut bits = generator(seed);
        check([&FLOAT32, &FLOAT32], n, [PLAIN; 2], &mut |_| {
            let b = bits();
            (b & 0x807f_ffff) | (0x1f00_0000 + ((b >> 3) & 0x0180_0000))
        });
    }

    /// bfloat16's own subnormals.
    #[test]
    fn equals_the_definition_for_subnormal_bfloat16(n in 0usize..300, seed: u64) {
        let mut bits = generator(seed);
        let mut asked = 0;
        check([&BFLOAT16, &BFLOAT16], n, [PLAIN; 2], &mut |_| {
            asked += 1;
            if asked <= n { bits() & 0x80ff } else { (bits() & 0x81ff) | 0x3e80 }
        });
    }
}

#[test]
fn every_pair_of_formats_equals_the_definition() {
    let mut bits = generator(3);
    for fa in &storable() {
        for fb in &storable() {
            for n in [150, 192] {
                check([fa, fb], n, [PLAIN; 2], &mut |format| tame(format, bits()));
                check([fa, fb], n, [PLAIN; 2], &mut |_| bits());
            }
        }
    }
}

#[test]
fn lengths_around_turns_and_blocks_equal_the_definition() {
    let mut bits = generator(4);
    for name in ["float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2fnuz", "float6_e2m3fn"] {
        let format = FloatFormat::named(name).unwrap();
        for multiple in [64, 128, 448, 512, 576, 1024, 1536, 4096] {
            for n in multiple - 1..=multiple + 1 {
                check([format, format], n, [PLAIN; 2], &mut |format| tame(format, bits()));
            }
        }
        for stride in [-1, 2, -5] {
            let layout = Layout { before: 3, stride };
            check([format, &BFLOAT16], 1025, [layout, PLAIN], &mut |format| tame(format, bits()));
            check([&BFLOAT16, format], 1025, [layout, layout], &mut |format| tame(format, bits()));
        }
    }
}

/// Lanes that underflowed to negative zero keep it, unless one had no element.
#[test]
fn negative_zero_is_kept() {
    let (a, b) = (vec![-1.0e-30f32; 130], vec![1.0e-30f32; 130]);
    for (n, right) in [(1, 0.0f32), (63, 0.0), (64, -0.0), (65, -0.0), (128, -0.0), (130, -0.0)] {
        let (a, b) = (Owned::F32(a[..n].to_vec()), Owned::F32(b[..n].to_vec()));
        for level in Level::available() {
            let got = dot(level, &PLAIN.place(&a, &FLOAT32, n), &PLAIN.place(&b, &FLOAT32, n));
            assert_eq!(got.to_bits(), right.to_bits(), "{n} {level}");
        }
    }
}

#[test]
fn nothing_is_positive_zero() {
    for level in Level::available() {
        let none = Owned::F32(vec![]);
        let a = Operand::new(none.codes(), &FLOAT32, (1, 0), (0, 1), 7).unwrap();
        assert_eq!(dot(level, &a, &a).to_bits(), 0);
    }
}

#[test]
#[should_panic(expected = "the lengths differ")]
fn lengths_must_not_differ() {
    let values = Owned::F32(vec![0.0; 3]);
    let _ = dot(Level::Portable, &PLAIN.place(&values, &FLOAT32, 3), &PLAIN.place(&values, &FLOAT32, 2));
}

#[test]
#[should_panic(expected = "not one row")]
fn matrices_are_no_vectors() {
    let values = Owned::F32(vec![0.0; 6]);
    let matrix = Operand::row_major(values.codes(), &FLOAT32, (2, 3)).unwrap();
    let _ = dot(Level::Portable, &matrix, &matrix);
}
