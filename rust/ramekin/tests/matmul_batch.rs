//! Batches, packed matrices, and products that take other ways through the driver, against the chain.

use std::sync::atomic::AtomicBool;

use ramekin::convert::decode;
use ramekin::format::{BFLOAT16, FLOAT32};
use ramekin::isa::Level;
use ramekin::matmul::{Codes, Operand, PackedMatrix, Right, Rights, Stack, matmul, matmul_batch};
use ramekin::{FloatFormat, parallel};

fn generator(mut state: u64) -> impl FnMut() -> u32 {
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    }
}

fn float8_e4m3fn() -> &'static FloatFormat {
    FloatFormat::named("float8_e4m3fn").unwrap()
}

/// Finite codes of float8, of magnitudes that neither overflow nor underflow.
fn float8(n: usize, bits: &mut impl FnMut() -> u32) -> Vec<u8> {
    (0..n).map(|_| (bits() as u8 & 0x9f) + 0x20).collect()
}

fn values(codes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; codes.len()];
    decode(Level::Portable, float8_e4m3fn(), codes, &mut values);
    values
}

fn chain(a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize)) -> Vec<f32> {
    let mut c = vec![0.0f32; m * n];
    for i in 0..m {
        for p in 0..k {
            for j in 0..n {
                c[i * n + j] = a[i * k + p].mul_add(b[p * n + j], c[i * n + j]);
            }
        }
    }
    c
}

fn check(a: &Operand<'_>, b: &Operand<'_>, right: &[f32], what: &str) {
    let packed: Vec<_> =
        Level::available().map(|level| (level, PackedMatrix::new(level, b).unwrap())).collect();
    for threads in 1..=3 {
        parallel::set_threads(threads).unwrap();
        for (level, packed) in &packed {
            let mut c = vec![f32::NAN; right.len()];
            matmul(*level, a, Right::Operand(b), &mut c).unwrap();
            assert!(c == right, "{what} {level} {threads} threads");
            c.fill(f32::NAN);
            matmul(*level, a, Right::Packed(packed), &mut c).unwrap();
            assert!(c == right, "{what} packed {level} {threads} threads");
        }
    }
}

/// Few rows or few columns, more than one block of columns, more than fits aside, several threads.
#[test]
fn every_way_through_the_driver_gives_the_chain() {
    let mut bits = generator(3);
    for shape @ (m, k, n) in
        [(1, 600, 2500), (9, 1100, 4200), (140, 520, 2100), (60_000, 3, 14), (40, 70, 9000), (700, 530, 1)]
    {
        let (a, b) = (float8(m * k, &mut bits), float8(k * n, &mut bits));
        let (va, vb) = (values(&a), values(&b));
        let right = chain(&va, &vb, shape);
        let narrow = |codes, shape| Operand::row_major(Codes::U8(codes), float8_e4m3fn(), shape).unwrap();
        check(&narrow(&a, (m, k)), &narrow(&b, (k, n)), &right, &format!("float8 {m}x{k}x{n}"));
        let wide = |values, shape| Operand::row_major(Codes::F32(values), &FLOAT32, shape).unwrap();
        check(&wide(&va, (m, k)), &wide(&vb, (k, n)), &right, &format!("float32 {m}x{k}x{n}"));
    }
}

/// Products of bfloat16 that underflow: pairs must not flush them, packed or not.
#[test]
fn packed_pairs_fall_back_where_they_would_flush() {
    let mut bits = generator(4);
    let (m, k, n) = (30, 1100, 50);
    let mut tiny = |count: usize, exponent: u32| -> Vec<u16> {
        (0..count).map(|_| (bits() as u16 & 0x807f) | ((exponent + bits() % 4) << 7) as u16).collect()
    };
    let (a, b) = (tiny(m * k, 60), tiny(k * n, 62));
    let wide = |codes: &[u16]| codes.iter().map(|&x| f32::from_bits(u32::from(x) << 16)).collect::<Vec<_>>();
    let right = chain(&wide(&a), &wide(&b), (m, k, n));
    assert!(right.iter().any(|x| x.is_subnormal()));
    let operand = |codes, shape| Operand::row_major(Codes::U16(codes), &BFLOAT16, shape).unwrap();
    check(&operand(&a, (m, k)), &operand(&b, (k, n)), &right, "tiny");
}

fn stack<'a>(
    values: &'a [f32],
    format: &'a FloatFormat,
    batch: &[(usize, isize)],
    shape: (usize, usize),
) -> Stack<'a> {
    let strides = (shape.1 as isize, 1);
    Stack::new(Codes::F32(values), format, batch.to_vec(), (shape, strides), 0).unwrap()
}

#[test]
fn batches_are_their_products() {
    let mut bits = generator(5);
    for (m, k, n) in [(3, 5, 4), (40, 300, 50), (1, 64, 30), (7, 20, 1)] {
        let (size_a, size_b) = (m * k, k * n);
        let a = values(&float8(6 * size_a, &mut bits));
        let b = values(&float8(6 * size_b, &mut bits));
        let (one_a, one_b) = (size_a as isize, size_b as isize);
        // Batches of 2 by 3: as they lie, either side broadcast, and with rows that no stride leads through.
        for (da, db) in [
            ([(2, 3 * one_a), (3, one_a)], [(2, 3 * one_b), (3, one_b)]),
            ([(2, 3 * one_a), (3, one_a)], [(2, 0), (3, 0)]),
            ([(2, one_a), (3, 2 * one_a)], [(2, 0), (3, 0)]),
            ([(2, 0), (3, 0)], [(2, 3 * one_b), (3, one_b)]),
            ([(2, 0), (3, one_a)], [(2, one_b), (3, 0)]),
        ] {
            let (sa, sb) = (stack(&a, &FLOAT32, &da, (m, k)), stack(&b, &FLOAT32, &db, (k, n)));
            let mut right = Vec::new();
            for i in 0..2 {
                for j in 0..3 {
                    let at = |d: [(usize, isize); 2]| (i * d[0].1 + j * d[1].1) as usize;
                    right.extend(chain(&a[at(da)..][..size_a], &b[at(db)..][..size_b], (m, k, n)));
                }
            }
            for threads in 1..=3 {
                parallel::set_threads(threads).unwrap();
                for level in Level::available() {
                    let never = AtomicBool::new(false);
                    let mut c = vec![f32::NAN; right.len()];
                    matmul_batch(level, &sa, Rights::Stack(&sb), &mut c, &never).unwrap();
                    assert!(c == right, "{m}x{k}x{n} {da:?} {db:?} {level} {threads} threads");
                    if db[0].1 == 0 && db[1].1 == 0 {
                        let packed = PackedMatrix::new(level, &sb.matrix(0)).unwrap();
                        c.fill(f32::NAN);
                        matmul_batch(level, &sa, Rights::Packed(&packed), &mut c, &never).unwrap();
                        assert!(c == right, "packed {m}x{k}x{n} {da:?} {level} {threads} threads");
                    }
                }
            }
        }
    }
}

#[test]
fn a_stop_leaves_the_rest_undone() {
    let a = vec![1.0; 64 * 64];
    let sa = stack(&a, &FLOAT32, &[], (64, 64));
    let mut c = vec![f32::NAN; 64 * 64];
    matmul_batch(Level::Portable, &sa, Rights::Stack(&sa), &mut c, &AtomicBool::new(true)).unwrap();
    assert!(c.iter().all(|x| x.is_nan()));
    matmul_batch(Level::Portable, &sa, Rights::Stack(&sa), &mut c, &AtomicBool::new(false)).unwrap();
    assert!(c.iter().all(|&x| x == 64.0));
}
