//! The functions against the C library's in float64, which shares no step with them; sums against integers.

use super::*;
use crate::isa::Level;

unsafe extern "C" {
    safe fn erf(x: f64) -> f64;
    safe fn erfc(x: f64) -> f64;
}

fn phi(x: f64) -> f64 {
    0.5 * erfc(-x / 2f64.sqrt())
}

/// `tanh` keeps what 1 - tanh loses: 1 / (1 + e^-2u).
fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn inner(x: f64) -> f64 {
    (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))
}

fn expected(function: Function, x: f64) -> f64 {
    let limit = |y: f64| if x == f64::NEG_INFINITY { -0.0 } else { y };
    match function {
        Function::Exp => x.exp(),
        Function::Log => x.ln(),
        Function::Tanh => x.tanh(),
        Function::Sigmoid => logistic(x),
        Function::Silu => limit(x * logistic(x)),
        Function::Erf => erf(x),
        Function::Gelu => limit(x * phi(x)),
        Function::GeluTanh => limit(x * logistic(2.0 * inner(x))),
        Function::Relu if x <= 0.0 => 0.0,
        Function::Relu => x,
        Function::Sqrt => x.sqrt(),
        Function::Rsqrt => x.sqrt().recip(),
    }
}

/// The two terms that a derivative is the sum of.
fn expected_slope(function: Gradient, x: f64) -> [f64; 2] {
    let x = x.clamp(-1e4, 1e4);
    match function {
        Gradient::Silu => [logistic(x), x * logistic(x) * logistic(-x)],
        Gradient::Gelu => [phi(x), x * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()],
        Gradient::GeluTanh => {
            let (s, t) = (logistic(2.0 * inner(x)), logistic(-2.0 * inner(x)));
            let slope = (2.0 / std::f64::consts::PI).sqrt() * (1.0 + 3.0 * 0.044715 * x * x);
            [s, x * s * t * 2.0 * slope]
        }
        Gradient::Relu => [f64::from(u8::from(x > 0.0)), 0.0],
    }
}

/// How far `y` is from `right` in float32's units in the last place there; specials must be the same.
fn ulps(y: f32, right: f64) -> f64 {
    ulps_beyond(0.0, y, right)
}

/// Likewise, less an error that is allowed besides.
fn ulps_beyond(allowed: f64, y: f32, right: f64) -> f64 {
    let nearest = right as f32;
    if right.is_nan() {
        return if y.to_bits() == f32::NAN.to_bits() { 0.0 } else { f64::INFINITY };
    }
    if nearest.is_infinite() || nearest == 0.0 {
        return if y.to_bits() == nearest.to_bits() { 0.0 } else { f64::INFINITY };
    }
    let exponent = (right.abs().to_bits() >> 52) as i32 - 1023;
    let unit = f64::from(exponent.max(-126) - 23).exp2();
    ((f64::from(y) - right).abs() - allowed).max(0.0) / unit
}

/// The stated bound.
const BOUND: f64 = 0.5001;

/// Every `step`-th float32, from `first`.
fn inputs(first: u32, step: u32, count: usize) -> Vec<f32> {
    (0..count as u32).map(|i| f32::from_bits(first.wrapping_add(i.wrapping_mul(step)))).collect()
}

const SPECIALS: [u32; 24] = [
    0,
    1 << 31,
    1,
    0x8000_0001,
    0x007f_ffff,
    0x807f_ffff,
    0x0080_0000,
    0x8080_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x3f7f_ffff,
    0x3f80_0001,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0xffc0_0001,
    0x7f80_0001,
    0xff80_0001,
    0x42b1_7217,
    0x42b1_7218,
    0xc2ce_8ecf,
    0xc2cf_f1b5,
];

fn check_function(level: Level, function: Function, x: &[f32]) -> (f64, u64) {
    let mut y = vec![0.0; x.len()];
    apply(level, function, x, &mut y).unwrap();
    let (mut worst, mut missed) = (0.0f64, 0);
    for (&x, &y) in x.iter().zip(&y) {
        let right = expected(function, f64::from(x));
        let off = ulps(y, right);
        assert!(off <= BOUND, "{function:?}({x:e}) = {y:e}, not {right:e}: {off} ulp");
        worst = worst.max(off);
        missed += u64::from(off > 0.5);
    }
    (worst, missed)
}

fn check_gradient(level: Level, function: Gradient, x: &[f32]) -> (f64, u64) {
    let (dy, mut dx) = (vec![1.0; x.len()], vec![0.0; x.len()]);
    apply_gradient(level, function, x, &dy, &mut dx).unwrap();
    let (mut worst, mut missed) = (0.0f64, 0);
    for (&x, &y) in x.iter().zip(&dx) {
        if function == Gradient::Relu && x.is_nan() {
            assert_eq!(y, 0.0);
            continue;
        }
        let terms = expected_slope(function, f64::from(x));
        let right = terms[0] + terms[1];
        // Near its zero the sum has the terms' errors, here and there some roundings of float64 each.
        let cancelled = 2f64.powi(-50) * (terms[0].abs() + terms[1].abs());
        // The sign of a zero far out is that of whichever term was the last to vanish.
        let vanished = y == 0.0 && right.abs() < 2f64.powi(-150);
        let off = if vanished { 0.0 } else { ulps_beyond(cancelled, y, right) };
        assert!(off <= BOUND, "slope of {function:?} at {x:e} = {y:e}, not {right:e}: {off} ulp");
        worst = worst.max(off);
        missed += u64::from(off > 0.5);
    }
    (worst, missed)
}

#[test]
fn functions_are_within_their_bound() {
    let level = Level::available().last().unwrap();
    let mut x = inputs(0x1234, 8191, 1 << 19);
    x.extend(SPECIALS.map(f32::from_bits));
    // Near the zeros and ones where terms cancel.
    x.extend(inputs(0x3f80_0000 - 20_000, 1, 40_000));
    x.extend(inputs(0xbf40_7000, 1, 20_000));
    for &function in Function::ALL {
        check_function(level, function, &x);
    }
    for &function in Gradient::ALL {
        check_gradient(level, function, &x);
    }
}

/// All float32 numbers: `cargo test --release -p ramekin math -- --ignored --nocapture`.
#[test]
#[ignore = "takes a minute for each function"]
fn functions_are_within_their_bound_everywhere() {
    let level = Level::available().last().unwrap();
    let all = |check: &(dyn Fn(&[f32]) -> (f64, u64) + Sync)| {
        let halves: Vec<_> = std::thread::scope(|scope| {
            let half = |first: u32| {
                scope.spawn(move || {
                    let mut found = (0.0f64, 0);
                    for block in 0..1u32 << 15 {
                        let (worst, missed) = check(&inputs(first + (block << 16), 1, 1 << 16));
                        found = (found.0.max(worst), found.1 + missed);
                    }
                    found
                })
            };
            [half(0), half(1 << 31)].map(|half| half.join().unwrap()).to_vec()
        });
        (halves[0].0.max(halves[1].0), halves[0].1 + halves[1].1)
    };
    for &function in Function::ALL {
        let (worst, missed) = all(&|x| check_function(level, function, x));
        println!("{function:?}: at most {worst:.7} ulp, {missed} not the nearest");
    }
    for &function in Gradient::ALL {
        let (worst, missed) = all(&|x| check_gradient(level, function, x));
        println!("slope of {function:?}: at most {worst:.7} ulp, {missed} not the nearest");
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Numbers of mixed magnitude and sign, the same every time.
pub(super) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| (next() - 0.5) * (next() * 12.0 - 6.0).exp2()).collect()
}

/// What `run` writes is the same on every level.
pub(super) fn on_every_level(length: usize, run: impl Fn(Level, &mut [f32])) -> Vec<f32> {
    let mut first: Option<Vec<f32>> = None;
    for level in Level::available() {
        let mut out = vec![7.0; length];
        run(level, &mut out);
        let right = first.get_or_insert_with(|| out.clone());
        assert_eq!(bits(&out), bits(right), "{level}");
    }
    first.unwrap()
}

#[test]
fn levels_agree_on_functions() {
    let mut x = inputs(99, 65_521, 1 << 16);
    x.extend(SPECIALS.map(f32::from_bits));
    x.push(0.3);
    let dy = numbers(x.len(), 5);
    for &function in Function::ALL {
        on_every_level(x.len(), |level, y| apply(level, function, &x, y).unwrap());
    }
    for &function in Gradient::ALL {
        on_every_level(x.len(), |level, dx| apply_gradient(level, function, &x, &dy, dx).unwrap());
    }
}

/// The order that the documentation states, one addition after the other.
fn documented_sum(terms: &[f64]) -> f64 {
    let mut all = 0.0;
    for piece in terms.chunks(1 << 16) {
        let mut lanes = [0.0; 16];
        for (k, term) in piece.iter().enumerate() {
            lanes[k % 16] += term;
        }
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
        }
        all += lanes[0];
    }
    all
}

#[test]
fn sums_are_in_the_documented_order() {
    for (rows, width) in [(1, 1), (3, 15), (2, 16), (5, 33), (700, 129), (2, 65_536), (3, 200_001)] {
        // Beyond float64's exact sums, so that the order shows.
        let x: Vec<f32> =
            numbers(rows * width, 3).iter().enumerate().map(|(i, x)| x * ((i % 50) as f32).exp2()).collect();
        let sums = on_every_level(rows, |level, out| sum(level, &x, width, out).unwrap());
        let squares = on_every_level(rows, |level, out| sum_of_squares(level, &x, width, out).unwrap());
        let most = on_every_level(rows, |level, out| max(level, &x, width, out).unwrap());
        for (i, row) in x.chunks(width).enumerate() {
            let terms: Vec<_> = row.iter().map(|&x| f64::from(x)).collect();
            assert_eq!(sums[i], documented_sum(&terms) as f32, "{rows} {width}");
            let terms: Vec<_> = terms.iter().map(|x| x * x).collect();
            assert_eq!(squares[i], documented_sum(&terms) as f32, "{rows} {width}");
            assert_eq!(most[i], row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b)));
        }
        let columns = on_every_level(width, |level, out| sum_columns(level, &x, out).unwrap());
        for (j, &column) in columns.iter().enumerate().step_by(1 + width / 300) {
            let right = (0..rows).fold(0.0, |sum, i| sum + f64::from(x[i * width + j]));
            assert_eq!(column, right as f32);
        }
    }
}

#[test]
fn largest_elements_of_specials() {
    let of = |x: &[f32]| on_every_level(1, |level, out| max(level, x, x.len(), out).unwrap())[0].to_bits();
    assert_eq!(of(&[-0.0, 0.0, -0.0]), 0);
    assert_eq!(of(&[-0.0, -1.0]), (-0.0f32).to_bits());
    assert_eq!(of(&[f32::NEG_INFINITY; 3]), f32::NEG_INFINITY.to_bits());
    assert_eq!(of(&[1.0, -f32::NAN, f32::INFINITY]), f32::NAN.to_bits());
}

fn softmax_in_order(x: &[f32]) -> (f64, f64, Vec<f64>) {
    let most = x.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(f64::from(b)));
    let e: Vec<_> = x.iter().map(|&x| (f64::from(x) - most).exp()).collect();
    (most, e.iter().sum(), e)
}

#[test]
fn softmax_is_near_the_true_one() {
    for (rows, width) in [(1, 1), (4, 10), (3, 17), (900, 100), (2, 70_000)] {
        let x: Vec<f32> = numbers(rows * width, 11).iter().map(|x| x * 3.0).collect();
        let y = on_every_level(x.len(), |level, y| softmax(level, &x, width, y).unwrap());
        let log_y = on_every_level(x.len(), |level, y| log_softmax(level, &x, width, y).unwrap());
        let labels: Vec<_> = (0..rows).map(|i| (i * 7 % width) as i64).collect();
        let labels_of = Labels::new(&labels, width).unwrap();
        let scale = 64.0 / rows as f64;
        let entropy = on_every_level(1 + rows + x.len(), |level, out| {
            let (mean, out) = out.split_at_mut(1);
            let (losses, gradient) = out.split_at_mut(rows);
            mean[0] = cross_entropy(level, &x, width, labels_of, 64.0, losses, gradient).unwrap();
        });
        let (losses, gradient) = entropy[1..].split_at(rows);
        let terms: Vec<_> = losses.iter().map(|&loss| f64::from(loss)).collect();
        assert_eq!(entropy[0], (documented_sum(&terms) / rows as f64) as f32);
        for (i, row) in x.chunks(width).enumerate() {
            let (most, sum, e) = softmax_in_order(row);
            let label = labels[i] as usize;
            let loss = sum.ln() - (f64::from(row[label]) - most);
            // Near zero a loss has the error of its terms, some 2^-53 of the larger.
            assert!(ulps(losses[i], loss) <= BOUND || (f64::from(losses[i]) - loss).abs() < 1e-14);
            for j in 0..width {
                let at = i * width + j;
                assert!(ulps(y[at], e[j] / sum) <= BOUND);
                let right = (f64::from(row[j]) - most) - sum.ln();
                assert!(ulps(log_y[at], right) <= BOUND || (f64::from(log_y[at]) - right).abs() < 1e-14);
                let right = (e[j] / sum - f64::from(u8::from(j == label))) * scale;
                let off = (f64::from(gradient[at]) - right).abs();
                assert!(ulps(gradient[at], right) <= BOUND || off < 1e-14 * scale, "{right:e} {off:e}");
            }
        }
        let dy = numbers(x.len(), 12);
        let dx = on_every_level(x.len(), |level, dx| softmax_gradient(level, &y, &dy, width, dx).unwrap());
        for ((y, dy), dx) in y.chunks(width).zip(dy.chunks(width)).zip(dx.chunks(width)) {
            let terms: Vec<_> = y.iter().zip(dy).map(|(&y, &dy)| f64::from(y) * f64::from(dy)).collect();
            let dot: f64 = terms.iter().sum();
            for ((&y, &dy), &dx) in y.iter().zip(dy).zip(dx) {
                let right = f64::from(y) * (f64::from(dy) - dot);
                assert!(ulps(dx, right) <= BOUND || (f64::from(dx) - right).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn rows_without_a_softmax_are_nan() {
    for row in [[1.0, f32::NAN, 2.0], [f32::INFINITY, 0.0, 1.0], [f32::NEG_INFINITY; 3]] {
        let y = on_every_level(3, |level, y| softmax(level, &row, 3, y).unwrap());
        assert!(y.iter().all(|y| y.to_bits() == f32::NAN.to_bits()), "{row:?} {y:?}");
        let y = on_every_level(3, |level, y| log_softmax(level, &row, 3, y).unwrap());
        assert!(y.iter().all(|y| y.to_bits() == f32::NAN.to_bits()), "{row:?} {y:?}");
    }
    let y = on_every_level(2, |level, y| softmax(level, &[f32::NEG_INFINITY, 3.0], 2, y).unwrap());
    assert_eq!(y, [0.0, 1.0]);
}

#[test]
fn labels_must_be_classes() {
    assert!(Labels::new(&[0, 3], 4).is_some());
    assert!(Labels::new(&[0, 4], 4).is_none());
    assert!(Labels::new(&[-1], 4).is_none());
}
