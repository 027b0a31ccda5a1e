//! Products of packed, scaled and integer operands against the chain over values dequantised in exact arithmetic.

mod quantised;

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use quantised::{Kind, Quantised, generator, kinds};
use ramekin::format::FLOAT32;
use ramekin::isa::Level;
use ramekin::matmul::{
    AccumulateError, Accumulator, Codes, Operand, OperandError, PackMatrixError, PackedMatrix, Right, Rights,
    Scales, Stack, TilesError, matmul, matmul_accumulated, matmul_accumulated_batch, matmul_batch, tiles_fit,
};
use ramekin::{FloatFormat, parallel, reference};

fn named(name: &str) -> &'static FloatFormat {
    FloatFormat::named(name).unwrap()
}

/// The definitions, as they are written down.
fn product(a: &Quantised, b: &Quantised, chain: impl Fn(&[f32], &[f32]) -> f32) -> Vec<f32> {
    let ((m, k), n) = (a.shape, b.shape.1);
    let (va, vb) = (a.values(), b.values());
    let tile = match (a.tile(1), b.tile(0)) {
        (Some(a), Some(b)) => {
            assert_eq!(a, b);
            Some(a)
        }
        (a, b) => a.or(b),
    };
    let canonical = |x: f32| if x.is_nan() { f32::from_bits(0x7fc0_0000) } else { x };
    let element = |at: usize| {
        let (i, j) = (at / n, at % n);
        let row: Vec<f32> = (0..k).map(|p| va[i * k + p]).collect();
        let column: Vec<f32> = (0..k).map(|p| vb[p * n + j]).collect();
        let tensor = (a.tensor_scale.is_some() || b.tensor_scale.is_some())
            .then(|| a.tensor_scale.unwrap_or(1.0) * b.tensor_scale.unwrap_or(1.0));
        let (sum, end) = match tile {
            None => {
                let sum = chain(&row, &column);
                let outer = (a.outer(i, 0).is_some() || b.outer(0, j).is_some()).then(|| {
                    let left = a.outer(i, 0).unwrap_or(1.0) * a.tensor_scale.unwrap_or(1.0);
                    let right = b.outer(0, j).unwrap_or(1.0) * b.tensor_scale.unwrap_or(1.0);
                    left * right
                });
                (sum, outer.or(tensor))
            }
            Some(tile) => {
                let mut c = 0.0f32;
                for (t, (row, column)) in row.chunks(tile).zip(column.chunks(tile)).enumerate() {
                    let scale = a.outer(i, t * tile).unwrap_or(1.0) * b.outer(t * tile, j).unwrap_or(1.0);
                    c = chain(row, column).mul_add(scale, c);
                }
                (c, tensor)
            }
        };
        canonical(end.map_or(sum, |end| sum * end))
    };
    (0..m * n).map(element).collect()
}

/// The chain by the machine's own fused multiply-add, for what would take the exact one long.
fn quick(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |c, (&a, &b)| a.mul_add(b, c))
}

fn assert_same(c: &[f32], right: &[f32], what: &str) {
    for (at, (c, right)) in c.iter().zip(right).enumerate() {
        let (c, right) = (c.to_bits(), right.to_bits());
        assert!(c == right, "{what}: element {at} is {c:#x}, not {right:#x}");
    }
}

fn check(a: &Quantised, b: &Quantised, right: &[f32]) {
    let (x, y) = (a.operand(), b.operand());
    for level in Level::available() {
        let what = format!("{a:?} x {b:?} {level}");
        let mut c = vec![f32::NAN; right.len()];
        matmul(level, &x, Right::Operand(&y), &mut c).unwrap();
        assert_same(&c, right, &what);
        if let Ok(packed) = PackedMatrix::new(level, &y)
            && tiles_fit(&x, Right::Packed(&packed)).is_ok()
        {
            c.fill(f32::NAN);
            matmul(level, &x, Right::Packed(&packed), &mut c).unwrap();
            assert_same(&c, right, &format!("{what} packed"));
        }
    }
}

/// Blocks of a side: of elements, or of sums if the scales are float32.
fn blocks() -> impl Strategy<Value = (usize, usize)> {
    prop::sample::select(vec![
        (1, 32),
        (32, 1),
        (1, 16),
        (16, 16),
        (3, 5),
        (1, 1),
        (64, 1),
        (7, 48),
        (1, 1000),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    /// Random codes and scales: special values, every magnitude.
    #[test]
    fn equals_the_chain(ka in kinds(), kb in kinds(), ba in blocks(), bb in blocks(), m in 1usize..26, k in 1usize..80,
                        n in 1usize..50, layouts in any::<[u8; 2]>(), wild: bool, seed: u64) {
        let mut bits = generator(seed);
        let a = Quantised::new(ka, (m, k), ba, layouts[0], wild, &mut bits);
        let b = Quantised::new(kb, (k, n), bb, layouts[1], wild, &mut bits);
        prop_assume!(tiles_fit(&a.operand(), Right::Operand(&b.operand())).is_ok());
        check(&a, &b, &product(&a, &b, reference::fma_chain));
    }

    /// Vectors, and matrices of few columns, which change places with the rows.
    #[test]
    fn vectors_equal_the_chain(ka in kinds(), kb in kinds(), ba in blocks(), bb in blocks(), m in 1usize..4,
                               k in 1usize..140, n in 1usize..90, turned: bool, layouts in any::<[u8; 2]>(),
                               wild: bool, seed: u64) {
        let mut bits = generator(seed);
        let (m, n) = if turned { (n, m) } else { (m, n) };
        let a = Quantised::new(ka, (m, k), ba, layouts[0], wild, &mut bits);
        let b = Quantised::new(kb, (k, n), bb, layouts[1], wild, &mut bits);
        prop_assume!(tiles_fit(&a.operand(), Right::Operand(&b.operand())).is_ok());
        check(&a, &b, &product(&a, &b, reference::fma_chain));
    }
}

/// Sizes around the blocks of depth, rows and columns, and several threads.
#[test]
fn blocks_and_threads_do_not_show() {
    let mut bits = generator(5);
    let mx = |element| Kind { element: named(element).clone(), scale: named("float8_e8m0fnu").clone() };
    let nvfp4 = Kind { element: named("float4_e2m1fn").clone(), scale: named("float8_e4m3fn").clone() };
    let deepseek = Kind { element: named("float8_e4m3fn").clone(), scale: FLOAT32.clone() };
    for (m, k, n) in
        [(150, 300, 40), (14, 1100, 70), (1, 700, 333), (30, 2100, 66), (7, 45, 2100), (301, 129, 1)]
    {
        for (ka, kb, ba, bb) in [
            (mx("float8_e4m3fn"), mx("float8_e5m2"), (1, 32), (32, 1)),
            (mx("float4_e2m1fn"), mx("float4_e2m1fn"), (1, 32), (32, 1)),
            (mx("float6_e2m3fn"), Kind::mxint8(), (1, 32), (32, 1)),
            (nvfp4.clone(), nvfp4.clone(), (1, 16), (16, 16)),
            (deepseek.clone(), deepseek.clone(), (1, 128), (128, 128)),
            (deepseek.clone(), mx("float4_e2m1fn"), (1, 33), (32, 1)),
            (nvfp4.clone(), deepseek.clone(), (1, 16), (600, 3)),
            (nvfp4.clone(), deepseek.clone(), (1, 16), (1200, 3)),
            (deepseek.clone(), deepseek.clone(), (1, 1 << 40), (1 << 40, 1)),
        ] {
            for layouts in [[0, 0], [1, 1], [2, 3]] {
                let a = Quantised::new(ka.clone(), (m, k), ba, layouts[0], false, &mut bits);
                let b = Quantised::new(kb.clone(), (k, n), bb, layouts[1], false, &mut bits);
                let right = product(&a, &b, quick);
                for threads in 1..=3 {
                    parallel::set_threads(threads).unwrap();
                    check(&a, &b, &right);
                }
            }
        }
    }
}

/// Scales at their ends: 2^-127, which is subnormal, 2^127, NaN, and blocks of zeros, whose scale is 2^-127 too. Pairs
/// of bfloat16 hold the smallest products of element and scale no more.
#[test]
fn extreme_scales() {
    let e8m0 = named("float8_e8m0fnu");
    for element in ["float8_e4m3fn", "float8_e5m2", "float6_e3m2fn", "float4_e2m1fn", "float16"] {
        let kind = Kind { element: named(element).clone(), scale: e8m0.clone() };
        let mut bits = generator(9);
        for (m, k, n) in [(5, 200, 40), (1, 200, 40), (40, 200, 1), (20, 1500, 33)] {
            for (sa, sb) in [
                (vec![0x00], vec![0x7f]),
                (vec![0x00], vec![0xfe]),
                (vec![0xfe], vec![0xfe]),
                (vec![0x00, 0x01, 0x80, 0x7f], vec![0x7f]),
                (vec![0x40], vec![0x3c, 0x40]),
                (vec![0x7f], vec![0x7f, 0x7f, 0x00, 0x7f]),
                (vec![0x7f, 0x7f, 0x7f, 0x7f, 0xff], vec![0x7e, 0x80]),
            ] {
                let mut a = Quantised::new(kind.clone(), (m, k), (1, 32), 0, false, &mut bits);
                let mut b = Quantised::new(kind.clone(), (k, n), (32, 1), 0, false, &mut bits);
                for (q, scales) in [(&mut a, sa), (&mut b, sb)] {
                    q.set_scales(|i| scales[i % scales.len()]);
                }
                check(&a, &b, &product(&a, &b, quick));
                // A block of zeros somewhere late, of scale 0x00.
                let mut zeros = b.clone();
                zeros.set_elements(|row, _, code| if row / 32 == k / 64 { 0 } else { code });
                check(&a, &zeros, &product(&a, &zeros, quick));
            }
        }
    }
}

/// All integers, the lowest included.
#[test]
fn integers_have_their_values() {
    let mut bits = generator(1);
    let mut a = Quantised::new(Kind::mxint8(), (1, 256), (1, 32), 0, false, &mut bits);
    a.set_elements(|_, column, _| column as u32);
    a.set_scales(|_| 0x7f);
    let identity: Vec<f32> = (0..256 * 256).map(|i| f32::from(i / 256 == i % 256)).collect();
    let identity = Operand::row_major(Codes::F32(&identity), &FLOAT32, (256, 256)).unwrap();
    for level in Level::available() {
        let mut c = vec![f32::NAN; 256];
        matmul(level, &a.operand(), Right::Operand(&identity), &mut c).unwrap();
        for (code, value) in c.iter().enumerate() {
            assert_eq!(*value, f32::from(code as u8 as i8) / 64.0);
        }
    }
}

/// Matrices of a batch, with and without a common right-hand side, whose rows can and cannot be taken as one matrix's.
#[test]
fn batches() {
    let mut bits = generator(3);
    let mx = |element| Kind { element: named(element).clone(), scale: named("float8_e8m0fnu").clone() };
    let deepseek = Kind { element: named("float8_e4m3fn").clone(), scale: FLOAT32.clone() };
    for (kind, block_a, block_b) in [
        (mx("float8_e4m3fn"), (1, 32), (32, 1)),
        (mx("float4_e2m1fn"), (1, 32), (16, 16)),
        (mx("float6_e3m2fn"), (4, 4), (32, 1)),
        (deepseek.clone(), (4, 16), (16, 3)),
        (deepseek.clone(), (1, 1 << 40), (1 << 40, 1)),
        (deepseek, (1 << 40, 1 << 40), (1 << 40, 1 << 40)),
    ] {
        for (m, k, n) in [(8, 40, 37), (5, 40, 37), (1, 70, 33), (300, 64, 40)] {
            let count = 3;
            let tall = Quantised::new(kind.clone(), (count * m, k), block_a, 0, false, &mut bits);
            if m % block_a.0.min(m) != 0 {
                continue;
            }
            let b = Quantised::new(kind.clone(), (k, count * n), block_b, 0, false, &mut bits);
            let right = product(&tall, &b, quick);
            let a = tall.rows_as_batch(count);
            for threads in 1..=3 {
                parallel::set_threads(threads).unwrap();
                for level in Level::available() {
                    // The same right-hand side for all: its first columns.
                    let mut c = vec![f32::NAN; count * m * count * n];
                    let same = b.repeated(count);
                    matmul_batch(level, &a, Rights::Stack(&same), &mut c, &AtomicBool::new(false)).unwrap();
                    assert_same(&c, &right, &format!("{tall:?} x {b:?} {level}"));
                    // One for each, of one column of blocks each.
                    if n % block_b.1.min(n) == 0 {
                        let each = b.columns_as_batch(count);
                        let mut c = vec![f32::NAN; count * m * n];
                        let (sum, stop) = (Accumulator::Float32, AtomicBool::new(false));
                        matmul_accumulated_batch(level, &sum, None, &a, Rights::Stack(&each), &mut c, &stop)
                            .unwrap();
                        let part: Vec<f32> = (0..count * m * n)
                            .map(|at| (at / (m * n), at / n % m, at % n))
                            .map(|(of, i, j)| right[(of * m + i) * count * n + of * n + j])
                            .collect();
                        assert_same(&c, &part, &format!("{tall:?} x {b:?} each {level}"));
                    }
                }
            }
        }
    }
}

/// Other accumulators add up the same elements, and scale their sums at the end.
#[test]
fn other_accumulators() {
    let mut bits = generator(4);
    let e8m0 = named("float8_e8m0fnu");
    let mx = |element| Kind { element: named(element).clone(), scale: e8m0.clone() };
    let per_tensor = Kind { element: named("float8_e4m3fn").clone(), scale: FLOAT32.clone() };
    let nvfp4 = Kind { element: named("float4_e2m1fn").clone(), scale: named("float8_e4m3fn").clone() };
    let chunk = NonZeroUsize::new(48);
    for (kind, block) in [(mx("float8_e5m2"), 32), (Kind::mxint8(), 32), (per_tensor, 1 << 40), (nvfp4, 16)] {
        for (m, k, n) in [(7, 100, 20), (9, 100, 2), (1, 130, 9)] {
            let a = Quantised::new(kind.clone(), (m, k), (1, block), 0, false, &mut bits);
            let b = Quantised::new(kind.clone(), (k, n), (block, 1), 0, false, &mut bits);
            for (accumulator, chunk, rule) in [
                (Accumulator::Exact, None, &reference::exact_dot as &dyn Fn(&[f32], &[f32]) -> f32),
                (Accumulator::Float64, chunk, &|a: &[f32], b: &[f32]| reference::float64_dot(Some(48), a, b)),
                (Accumulator::Float32, chunk, &|a: &[f32], b: &[f32]| reference::float32_dot(Some(48), a, b)),
                (Accumulator::Bfloat16, None, &|a: &[f32], b: &[f32]| {
                    reference::rounded_dot(named("bfloat16"), None, a, b)
                }),
            ] {
                let right = product(&a, &b, rule);
                for level in Level::available() {
                    let mut c = vec![f32::NAN; m * n];
                    let (a, b) = (a.operand(), b.operand());
                    matmul_accumulated(level, &accumulator, chunk, &a, &b, &mut c).unwrap();
                    assert_same(&c, &right, &format!("{accumulator:?} {level}"));
                }
            }
        }
    }
}

#[test]
fn refuses_what_has_no_meaning() {
    let mut bits = generator(2);
    let deepseek = Kind { element: named("float8_e4m3fn").clone(), scale: FLOAT32.clone() };
    let mut side = |shape, block| Quantised::new(deepseek.clone(), shape, block, 0, false, &mut bits);
    let (a, b, c) = (side((4, 40), (1, 16)), side((40, 5), (16, 1)), side((40, 5), (8, 5)));
    let (a, b, c) = (a.operand(), b.operand(), c.operand());
    assert_eq!(tiles_fit(&a, Right::Operand(&b)), Ok(true));
    assert_eq!(tiles_fit(&a, Right::Operand(&c)), Err(TilesError::Differ(16, 8)));
    let level = Level::Portable;
    assert_eq!(PackedMatrix::new(level, &b).err(), Some(PackMatrixError::Tiles));
    let plain = [0.0f32; 200];
    let plain = Operand::row_major(Codes::F32(&plain), &FLOAT32, (40, 5)).unwrap();
    let packed = PackedMatrix::new(level, &plain).unwrap();
    assert_eq!(tiles_fit(&a, Right::Packed(&packed)), Err(TilesError::Packed));
    let mut out = [0.0; 20];
    let mut sum = |accumulator: Accumulator, chunk, b: &Operand<'_>| {
        matmul_accumulated(level, &accumulator, NonZeroUsize::new(chunk), &a, b, &mut out).unwrap_err()
    };
    assert_eq!(sum(Accumulator::Float64, 0, &b), AccumulateError::TiledSum);
    assert_eq!(sum(Accumulator::Float32, 16, &b), AccumulateError::TiledSum);
    assert_eq!(sum(Accumulator::Float32, 0, &c), AccumulateError::Tiles(TilesError::Differ(16, 8)));
    let mx = Kind { element: named("float8_e4m3fn").clone(), scale: named("float8_e8m0fnu").clone() };
    let mx = Quantised::new(mx, (40, 5), (32, 1), 0, false, &mut bits);
    let model = Accumulator::named("h100-fp8").unwrap();
    let left = Operand::row_major(Codes::U8(&[0; 160]), named("float8_e4m3fn"), (4, 40)).unwrap();
    let error = matmul_accumulated(level, &model, None, &left, &mx.operand(), &mut out).unwrap_err();
    assert_eq!(error, AccumulateError::ScaledOperand);
    for message in [error.to_string(), AccumulateError::TiledSum.to_string(), TilesError::Packed.to_string()]
    {
        assert!(message.contains("accepted"), "{message}");
    }

    let codes = [0u8; 64];
    let e8m0 = named("float8_e8m0fnu");
    let scales = |block, strides, offset| {
        Scales::new(Codes::U8(&codes[..4]), e8m0, block, strides, offset)
            .and_then(|scales| left.scaled(scales))
            .map(|_| ())
    };
    assert_eq!(scales((4, 10), (4, 1), 0), Ok(()));
    assert_eq!(scales((4, 9), (4, 1), 0), Err(OperandError::Scales));
    assert_eq!(scales((4, 10), (0, -1), 3), Ok(()));
    assert_eq!(scales((4, 10), (0, -1), 2), Err(OperandError::Scales));
    assert_eq!(scales((0, 10), (4, 1), 0), Err(OperandError::Block));
    let wrong = Scales::new(Codes::U8(&codes), named("float16"), (1, 1), (1, 1), 0);
    assert_eq!(wrong.map(|_| ()), Err(OperandError::Width));
    assert_eq!(left.of_integers().map(|_| ()), Err(OperandError::Integers));
    let packed = |format, strides, offset| {
        Operand::new(Codes::Packed(&codes[..9]), format, (3, 5), strides, offset).map(|_| ())
    };
    assert_eq!(packed(named("float4_e2m1fn"), (24, 4), 0), Ok(()));
    assert_eq!(packed(named("float4_e2m1fn"), (24, 4), 4), Ok(()));
    assert_eq!(packed(named("float4_e2m1fn"), (24, 4), 8), Err(OperandError::Bounds));
    assert_eq!(packed(named("float8_e4m3fn"), (24, 8), 0), Err(OperandError::Width));
    let stack =
        Stack::new(Codes::U8(&codes), named("float8_e5m2"), vec![(2, 32)], ((4, 8), (8, 1)), 0).unwrap();
    let scales = |stride| {
        let scales = Scales::new(Codes::U8(&codes[..16]), e8m0, (1, 4), (2, 1), 0).unwrap();
        stack.clone().scaled(scales, vec![stride]).map(|_| ())
    };
    assert_eq!(scales(8), Ok(()));
    assert_eq!(scales(9), Err(OperandError::Scales));
}
