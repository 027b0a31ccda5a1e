//! Matrix products in every accumulator against integer arithmetic.

mod operands;

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use operands::{Owned, formats, generator, place};
use proptest::prelude::*;
use ramekin::format::{BFLOAT16, FLOAT16, FLOAT32, NAMED};
use ramekin::isa::Level;
use ramekin::matmul::{
    AccumulateError, Accumulator, Codes, Operand, PackedMatrix, Rights, Stack, TensorCore,
    matmul_accumulated, matmul_accumulated_batch,
};
use ramekin::{FloatFormat, parallel, reference};

/// Every accumulator, the presets and models at the ends of what is accepted.
fn accumulators() -> Vec<Accumulator> {
    let presets = TensorCore::PRESETS.map(|(_, model)| model);
    let ends = [(1, 1, 1), (256, 40, 23), (3, 40, 5)].map(|(t, f, m)| TensorCore::new(t, f, m).unwrap());
    let models = presets.into_iter().chain(ends).map(Accumulator::TensorCore);
    [
        Accumulator::Float32,
        Accumulator::Float64,
        Accumulator::Exact,
        Accumulator::Float16,
        Accumulator::Bfloat16,
    ]
    .into_iter()
    .chain(models)
    .collect()
}

fn dot(
    accumulator: &Accumulator,
    formats: (&FloatFormat, &FloatFormat),
    chunk: Option<usize>,
    a: &[f32],
    b: &[f32],
) -> f32 {
    match accumulator {
        Accumulator::Float32 => reference::float32_dot(chunk, a, b),
        Accumulator::Float64 => reference::float64_dot(chunk, a, b),
        Accumulator::Exact => reference::exact_dot(a, b),
        Accumulator::Float16 => reference::rounded_dot(&FLOAT16, chunk, a, b),
        Accumulator::Bfloat16 => reference::rounded_dot(&BFLOAT16, chunk, a, b),
        Accumulator::TensorCore(model) => reference::tensor_core_dot(model, formats, chunk, a, b),
    }
}

/// Which codes a matrix has.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Any: every scale, infinities and NaN.
    All,
    /// Any finite ones: sums are ruled by a few large terms.
    Finite,
    /// Exponents near one: no sum overflows or vanishes.
    Near,
    /// Subnormals and the smallest normal numbers, and now and then any other.
    Small,
}

const KINDS: [Kind; 4] = [Kind::All, Kind::Finite, Kind::Near, Kind::Small];

/// A code of a format, from random bits.
fn code(format: &FloatFormat, kind: Kind, bits: &mut impl FnMut() -> u32) -> u32 {
    let random = bits() & (format.magnitude_mask() | format.sign_bit());
    let (sign, magnitude) = (random & format.sign_bit(), random & format.magnitude_mask());
    let m = format.mantissa_bits;
    let top = format.max_code() >> m;
    let field = match kind {
        Kind::All => return random,
        Kind::Finite => magnitude >> m,
        Kind::Near => ((format.bias as u32).min(top) + bits() % 4).saturating_sub(2),
        Kind::Small => {
            let any = magnitude >> m;
            if bits().is_multiple_of(16) { any } else { bits() % 2 }
        }
    };
    let code = (field << m | magnitude & ((1 << m) - 1)).min(format.max_code());
    // Some formats have no negative zero.
    if code == 0 { 0 } else { code | sign }
}

fn codes(format: &FloatFormat, kind: Kind, n: usize, bits: &mut impl FnMut() -> u32) -> Owned {
    Owned::new(format, &(0..n).map(|_| code(format, kind, bits)).collect::<Vec<_>>())
}

/// Every level's product against the oracle.
fn check(
    accumulator: &Accumulator,
    chunk: Option<usize>,
    (fa, a): (&FloatFormat, &Owned),
    (fb, b): (&FloatFormat, &Owned),
    (m, k, n): (usize, usize, usize),
    (ta, tb): (bool, bool),
) {
    let (va, vb) = (a.values(fa), b.values(fb));
    let row = |i: usize| (0..k).map(|p| va[if ta { p * m + i } else { i * k + p }]).collect::<Vec<_>>();
    let column = |j: usize| (0..k).map(|p| vb[if tb { j * k + p } else { p * n + j }]).collect::<Vec<_>>();
    let columns: Vec<_> = (0..n).map(column).collect();
    let mut right = Vec::with_capacity(m * n);
    for i in 0..m {
        let row = row(i);
        right.extend(columns.iter().map(|column| dot(accumulator, (fa, fb), chunk, &row, column)));
    }
    let (oa, ob) = (place(a, fa, (m, k), ta), place(b, fb, (k, n), tb));
    for level in Level::available() {
        let mut c = vec![f32::NAN; m * n];
        let chunk = chunk.and_then(NonZeroUsize::new);
        matmul_accumulated(level, accumulator, chunk, &oa, &ob, &mut c).unwrap();
        for (at, (c, right)) in c.iter().zip(&right).enumerate() {
            assert!(
                c.to_bits() == right.to_bits(),
                "{accumulator:?} {fa} x {fb} {m}x{k}x{n} chunk {chunk:?} {level}: element {at} is {c:e}, not {right:e}"
            );
        }
    }
}

/// What tensor cores refuse, and exact sums.
fn accepts(accumulator: &Accumulator, chunk: Option<usize>, formats: [&FloatFormat; 2]) -> bool {
    match accumulator {
        Accumulator::Exact => chunk.is_none(),
        Accumulator::TensorCore(_) => !formats.contains(&&FLOAT32),
        _ => true,
    }
}

/// Named formats, and now and then one that is not.
fn any_format() -> impl Strategy<Value = FloatFormat> {
    let custom = [(8, 3, true), (6, 2, false), (12, 6, true), (16, 12, true)];
    let custom = custom.map(|(k, p, signed)| FloatFormat::p3109(k, p, signed, true).unwrap());
    prop_oneof![6 => formats(), 1 => prop::sample::select(custom.to_vec())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn equals_the_definition(
        fa in any_format(), fb in any_format(), accumulator in prop::sample::select(accumulators()),
        kinds in (prop::sample::select(&KINDS[..]), prop::sample::select(&KINDS[..])),
        m in 0usize..20, k in prop_oneof![0usize..40, 200usize..600], n in 0usize..40,
        chunk in prop_oneof![Just(None), (1usize..300).prop_map(Some)],
        ta: bool, tb: bool, seed: u64,
    ) {
        prop_assume!(accepts(&accumulator, chunk, [&fa, &fb]));
        // Long sums of few elements: the oracle is slow.
        let (m, n) = if k < 100 { (m, n) } else { (m % 5, n % 20) };
        let mut bits = generator(seed);
        let (a, b) = (codes(&fa, kinds.0, m * k, &mut bits), codes(&fb, kinds.1, k * n, &mut bits));
        check(&accumulator, chunk, (&fa, &a), (&fb, &b), (m, k, n), (ta, tb));
    }
}

fn storable() -> impl Iterator<Item = &'static FloatFormat> {
    NAMED.iter().chain([&FLOAT32]).filter(|format| format.bits() != 19)
}

/// Ten thousand exact sums for each kind of elements of each format, and for each format with float32.
#[test]
fn exact_sums_of_every_format() {
    let mut bits = generator(11);
    for format in storable() {
        for kind in KINDS {
            for (k, other) in [(1, format), (24, format), (24, &FLOAT32)] {
                let (a, b) =
                    (codes(format, kind, 100 * k, &mut bits), codes(other, kind, 100 * k, &mut bits));
                check(&Accumulator::Exact, None, (format, &a), (other, &b), (100, k, 100), (false, true));
            }
        }
    }
}

/// Terms that cancel in pairs but for one, shuffled: all that remains is that one.
#[test]
fn exact_sums_cancel_in_any_order() {
    let mut bits = generator(12);
    for format in storable().filter(|format| format.signed) {
        for kind in [Kind::Finite, Kind::Near, Kind::Small] {
            for _ in 0..30 {
                let half = 1 + bits() as usize % 400;
                let (mut a, mut b) = (vec![], vec![]);
                for _ in 0..half {
                    let (x, y) = (code(format, kind, &mut bits), code(format, kind, &mut bits));
                    // Zero has no other sign in some formats.
                    let minus_x = if x == 0 { x } else { x ^ format.sign_bit() };
                    a.extend([x, minus_x]);
                    b.extend([y, y]);
                }
                a.push(code(format, Kind::Small, &mut bits));
                b.push(code(format, Kind::Small, &mut bits));
                for round in 0..3 {
                    let (owned_a, owned_b) = (Owned::new(format, &a), Owned::new(format, &b));
                    let (x, y) = (owned_a.values(format), owned_b.values(format));
                    let last = a.len() - 1;
                    if round == 0 {
                        let left = f64::from(x[last]) * f64::from(y[last]);
                        let sum = reference::exact_dot(&x, &y);
                        // Adding +0 takes the sign of a zero away.
                        assert_eq!(
                            sum.to_bits(),
                            (left as f32 + if left == 0.0 { 0.0 } else { -0.0 }).to_bits()
                        );
                    }
                    let shape = (1, a.len(), 1);
                    check(
                        &Accumulator::Exact,
                        None,
                        (format, &owned_a),
                        (format, &owned_b),
                        shape,
                        (false, false),
                    );
                    for i in (1..a.len()).rev() {
                        let j = bits() as usize % (i + 1);
                        a.swap(i, j);
                        b.swap(i, j);
                    }
                }
            }
        }
    }
}

/// Any order of terms, at a size with several blocks: the same bits.
#[test]
fn exact_sums_do_not_depend_on_order() {
    let mut bits = generator(13);
    let (m, k, n) = (5, 1500, 33);
    for format in storable() {
        for kind in [Kind::All, Kind::Finite] {
            let a: Vec<u32> = (0..m * k).map(|_| code(format, kind, &mut bits)).collect();
            let b: Vec<u32> = (0..k * n).map(|_| code(format, kind, &mut bits)).collect();
            let mut order: Vec<usize> = (0..k).collect();
            let mut products = vec![];
            for _ in 0..3 {
                let shuffled_a: Vec<u32> = (0..m * k).map(|at| a[at / k * k + order[at % k]]).collect();
                let shuffled_b: Vec<u32> = (0..k * n).map(|at| b[order[at / n] * n + at % n]).collect();
                let (oa, ob) = (Owned::new(format, &shuffled_a), Owned::new(format, &shuffled_b));
                for level in Level::available() {
                    let mut c = vec![0.0f32; m * n];
                    let (oa, ob) = (place(&oa, format, (m, k), false), place(&ob, format, (k, n), false));
                    matmul_accumulated(level, &Accumulator::Exact, None, &oa, &ob, &mut c).unwrap();
                    products.push(c.iter().map(|c| c.to_bits()).collect::<Vec<_>>());
                }
                for i in (1..k).rev() {
                    order.swap(i, bits() as usize % (i + 1));
                }
            }
            products.dedup();
            assert_eq!(products.len(), 1, "{format} {kind:?}");
        }
    }
}

/// Sizes of several rectangles and blocks, enough work for threads, matrices with gaps and read backwards.
#[test]
fn blocks_threads_and_strides_do_not_show() {
    let mut bits = generator(14);
    let sizes = [(131, 300, 37), (1, 700, 403), (260, 600, 3), (20, 1100, 290)];
    for (fa, fb) in [(&FLOAT16, &BFLOAT16), (&FLOAT32, &FLOAT32), (&NAMED[4], &NAMED[3])] {
        for (m, k, n) in sizes {
            // Every other element, from the last one on.
            let a = codes(fa, Kind::Near, 2 * m * k, &mut bits);
            let b = codes(fb, Kind::Near, 2 * k * n, &mut bits);
            let strides = |columns: usize| (-2 * columns as isize, -2);
            let oa = Operand::new(a.codes(), fa, (m, k), strides(k), 2 * m * k - 1).unwrap();
            let ob = Operand::new(b.codes(), fb, (k, n), strides(n), 2 * k * n - 1).unwrap();
            let (va, vb) = (a.values(fa), b.values(fb));
            let sampled: Vec<usize> = (0..12).map(|_| bits() as usize % (m * n)).collect();
            for accumulator in accumulators() {
                for chunk in [None, Some(100)] {
                    if !accepts(&accumulator, chunk, [fa, fb]) {
                        continue;
                    }
                    let mut first: Option<Vec<u32>> = None;
                    for threads in 1..=3 {
                        parallel::set_threads(threads).unwrap();
                        for level in Level::available() {
                            let mut c = vec![f32::NAN; m * n];
                            let chunk = chunk.and_then(NonZeroUsize::new);
                            matmul_accumulated(level, &accumulator, chunk, &oa, &ob, &mut c).unwrap();
                            let c: Vec<u32> = c.iter().map(|c| c.to_bits()).collect();
                            let first = first.get_or_insert_with(|| c.clone());
                            assert!(
                                *first == c,
                                "{accumulator:?} {fa} {m}x{k}x{n} {level} {threads} threads"
                            );
                        }
                    }
                    let c = first.unwrap();
                    for &at in &sampled {
                        let x: Vec<f32> = (0..k).map(|p| va[2 * m * k - 1 - 2 * (at / n * k + p)]).collect();
                        let y: Vec<f32> = (0..k).map(|p| vb[2 * k * n - 1 - 2 * (p * n + at % n)]).collect();
                        let right = dot(&accumulator, (fa, fb), chunk, &x, &y).to_bits();
                        assert_eq!(c[at], right, "{accumulator:?} {fa} {m}x{k}x{n} element {at}");
                    }
                }
            }
        }
    }
}

/// Enough work for threads in matrices that are each too small; one matrix on the right of all.
#[test]
fn batches_are_their_products() {
    let mut bits = generator(17);
    let (count, (m, k, n)) = (40, (5, 90, 9));
    let (fa, fb) = (&FLOAT16, &BFLOAT16);
    let (a, b) =
        (codes(fa, Kind::Near, count * m * k, &mut bits), codes(fb, Kind::Near, count * k * n, &mut bits));
    let (va, vb) = (a.values(fa), b.values(fb));
    let part = |one: usize| one as isize;
    // Matrices in order, backwards, and the same again and again.
    for (step, first) in [(part(k * n), 0), (-part(k * n), (count - 1) * k * n), (0, 7 * k * n)] {
        let stack = |codes, format, step, shape: (usize, usize), first| {
            Stack::new(codes, format, vec![(count, step)], (shape, (part(shape.1), 1)), first).unwrap()
        };
        let sa = stack(a.codes(), fa, part(m * k), (m, k), 0);
        let sb = stack(b.codes(), fb, step, (k, n), first);
        for accumulator in accumulators() {
            let chunk = (accumulator != Accumulator::Exact).then_some(32);
            let mut right = vec![];
            for i in 0..count {
                let vb = &vb[(first as isize + i as isize * step) as usize..][..k * n];
                for at in 0..m * n {
                    let column: Vec<f32> = (0..k).map(|p| vb[p * n + at % n]).collect();
                    let row = &va[(i * m + at / n) * k..][..k];
                    right.push(dot(&accumulator, (fa, fb), chunk, row, &column).to_bits());
                }
            }
            for threads in 1..=3 {
                parallel::set_threads(threads).unwrap();
                let mut c = vec![f32::NAN; count * m * n];
                let level = Level::available().last().unwrap();
                let chunk = chunk.and_then(NonZeroUsize::new);
                let (rights, stop) = (Rights::Stack(&sb), AtomicBool::new(false));
                matmul_accumulated_batch(level, &accumulator, chunk, &sa, rights, &mut c, &stop).unwrap();
                let c: Vec<u32> = c.iter().map(|c| c.to_bits()).collect();
                assert!(c == right, "{accumulator:?} step {step} {threads} threads");
            }
        }
    }
}

/// Nothing is read or written once the flag is up.
#[test]
fn products_stop() {
    let mut bits = generator(18);
    let (m, k, n) = (20, 300, 30);
    let (a, b) =
        (codes(&FLOAT32, Kind::Near, m * k, &mut bits), codes(&FLOAT32, Kind::Near, k * n, &mut bits));
    let stack = |codes, shape: (usize, usize)| {
        Stack::new(codes, &FLOAT32, vec![], (shape, (shape.1 as isize, 1)), 0).unwrap()
    };
    let (a, b) = (stack(a.codes(), (m, k)), stack(b.codes(), (k, n)));
    let accumulators = [Accumulator::Float64, Accumulator::Exact, Accumulator::Float16];
    for accumulator in accumulators {
        let mut c = vec![7.0; m * n];
        let (rights, stop) = (Rights::Stack(&b), AtomicBool::new(true));
        matmul_accumulated_batch(Level::Portable, &accumulator, None, &a, rights, &mut c, &stop).unwrap();
        assert!(c.iter().all(|&c| c == 7.0), "{accumulator:?}");
    }
}

#[test]
fn packed_matrices_are_for_chains_of_float32() {
    let values = [2.0f32];
    let one = Operand::row_major(Codes::F32(&values), &FLOAT32, (1, 1)).unwrap();
    let stack = Stack::new(Codes::F32(&values), &FLOAT32, vec![], ((1, 1), (1, 1)), 0).unwrap();
    let packed = PackedMatrix::new(Level::Portable, &one).unwrap();
    let call = |accumulator, chunk| {
        let mut c = [0.0];
        let (right, stop) = (Rights::Packed(&packed), AtomicBool::new(false));
        matmul_accumulated_batch(Level::Portable, &accumulator, chunk, &stack, right, &mut c, &stop)
            .map(|()| c[0])
    };
    assert_eq!(call(Accumulator::Float32, None), Ok(4.0));
    for (accumulator, chunk) in [(Accumulator::Float32, NonZeroUsize::new(1)), (Accumulator::Exact, None)] {
        let error = call(accumulator, chunk).unwrap_err();
        assert_eq!(error, AccumulateError::Packed);
        assert!(error.to_string().contains("accepted"));
    }
}

#[test]
fn accumulators_are_found_by_name() {
    for (name, accumulator) in Accumulator::NAMED {
        assert_eq!(Accumulator::named(name), Some(accumulator));
    }
    for (name, model) in TensorCore::PRESETS {
        assert_eq!(Accumulator::named(name), Some(Accumulator::TensorCore(model)));
    }
    assert_eq!(Accumulator::named("float8"), None);
}

#[test]
fn empty_sums_are_zero() {
    let none = Owned::U16(vec![]);
    let (a, b) = (place(&none, &FLOAT16, (3, 0), false), place(&none, &FLOAT16, (0, 2), false));
    for accumulator in accumulators() {
        for chunk in [None, NonZeroUsize::new(4)] {
            if !accepts(&accumulator, chunk.map(NonZeroUsize::get), [&FLOAT16; 2]) {
                continue;
            }
            let mut c = [f32::NAN; 6];
            matmul_accumulated(Level::Portable, &accumulator, chunk, &a, &b, &mut c).unwrap();
            assert_eq!(c.map(f32::to_bits), [0; 6], "{accumulator:?}");
        }
    }
}

#[test]
fn refuses_chunks_of_exact_sums_and_wide_operands_of_tensor_cores() {
    let values = [1.0f32];
    let a = Operand::row_major(Codes::F32(&values), &FLOAT32, (1, 1)).unwrap();
    let mut c = [0.0];
    let chunk = NonZeroUsize::new(1);
    let mut call = |accumulator, chunk| {
        matmul_accumulated(Level::Portable, &accumulator, chunk, &a, &a, &mut c).unwrap_err()
    };
    assert_eq!(call(Accumulator::Exact, chunk), AccumulateError::ChunkOfExact);
    let model = Accumulator::TensorCore(TensorCore::named("a100-fp16").unwrap());
    let error = call(model, None);
    assert_eq!(error, AccumulateError::WideOperand);
    assert!(error.to_string().contains("accepted"));
}

/// A caller that flushes subnormals and rounds toward zero does not show.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_floating_point_environment_does_not_show() {
    use std::arch::asm;
    let mut bits = generator(16);
    let (m, k, n) = (9, 300, 21);
    for format in [&FLOAT32, &BFLOAT16] {
        let (a, b) =
            (codes(format, Kind::Small, m * k, &mut bits), codes(format, Kind::Near, k * n, &mut bits));
        let (a, b) = (place(&a, format, (m, k), false), place(&b, format, (k, n), false));
        for accumulator in accumulators() {
            for chunk in [None, Some(50)] {
                if !accepts(&accumulator, chunk, [format; 2]) {
                    continue;
                }
                for level in Level::available() {
                    let product = |control: u32| {
                        let mut c = vec![0.0f32; m * n];
                        let chunk = chunk.and_then(NonZeroUsize::new);
                        let mut saved = 0u32;
                        // SAFETY: stmxcsr writes and ldmxcsr reads four bytes of live variables; `control` sets no
                        // reserved bit.
                        unsafe {
                            asm!("stmxcsr [{}]", in(reg) &raw mut saved, options(nostack, preserves_flags));
                            asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack, preserves_flags));
                        }
                        let done = matmul_accumulated(level, &accumulator, chunk, &a, &b, &mut c);
                        // SAFETY: as above; the value was read by stmxcsr.
                        unsafe {
                            asm!("ldmxcsr [{}]", in(reg) &raw const saved, options(nostack, preserves_flags));
                        }
                        done.unwrap();
                        c.iter().map(|c| c.to_bits()).collect::<Vec<_>>()
                    };
                    // Exceptions masked; flush-to-zero, denormals-are-zero, toward zero.
                    let (plain, hostile) = (product(0x1f80), product(0x1f80 | 0x8040 | 0x6000));
                    assert!(plain == hostile, "{accumulator:?} {format} {level}");
                }
            }
        }
    }
}
