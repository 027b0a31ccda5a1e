//! Dot products on one thread, in the nearest cache and beyond it: `cargo bench -p ramekin --bench dot`.

use divan::{Bencher, black_box, counter::ItemsCount};
use ramekin::FloatFormat;
use ramekin::convert::{Conversion, encode};
use ramekin::dot::dot;
use ramekin::isa::Level;
use ramekin::matmul::{Codes, Operand};

const SHORT: usize = 1536;
const LONG: usize = 1 << 20;

const PAIRS: [(&str, &str); 10] = [
    ("float32", "float32"),
    ("float16", "float16"),
    ("bfloat16", "bfloat16"),
    ("float8_e4m3fn", "float8_e4m3fn"),
    ("float8_e5m2", "float8_e5m2"),
    ("float8_e4m3fnuz", "float8_e4m3fnuz"),
    ("float6_e2m3fn", "float6_e2m3fn"),
    ("float4_e2m1fn", "float4_e2m1fn"),
    ("bfloat16", "float8_e4m3fn"),
    ("float32", "bfloat16"),
];

fn main() {
    divan::main();
}

/// A vector of numbers over some binades.
struct Vector {
    format: &'static FloatFormat,
    bytes: Vec<u8>,
    halves: Vec<u16>,
    floats: Vec<f32>,
}

impl Vector {
    fn new(name: &str, n: usize) -> Self {
        let format = FloatFormat::named(name).expect("a named format");
        let floats: Vec<f32> =
            (0..n).map(|i| (i as f32 * 0.37).sin() * ((i % 5) as f32 - 3.0).exp2()).collect();
        let (mut bytes, mut halves) = (vec![0; n], vec![0; n]);
        match format.bits() {
            0..=8 => encode(Level::Portable, format, Conversion::default(), &floats, &mut bytes),
            9..=16 => encode(Level::Portable, format, Conversion::default(), &floats, &mut halves),
            _ => {}
        }
        Self { format, bytes, halves, floats }
    }

    fn operand(&self) -> Operand<'_> {
        let codes = match self.format.bits() {
            0..=8 => Codes::U8(&self.bytes),
            9..=16 => Codes::U16(&self.halves),
            _ => Codes::F32(&self.floats),
        };
        Operand::row_major(codes, self.format, (1, self.floats.len())).expect("codes of the format")
    }
}

fn bench(bencher: Bencher, level: Level, (a, b): (&str, &str), n: usize) {
    let (a, b) = (Vector::new(a, n), Vector::new(b, n));
    let (a, b) = (a.operand(), b.operand());
    bencher.counter(ItemsCount::new(n)).bench_local(|| dot(level, black_box(&a), black_box(&b)));
}

fn levels() -> Vec<Level> {
    Level::available().collect()
}

fn best() -> Level {
    *levels().last().expect("the portable level")
}

#[divan::bench(args = PAIRS, sample_count = 200)]
fn short(bencher: Bencher, pair: (&str, &str)) {
    bench(bencher, best(), pair, SHORT);
}

#[divan::bench(args = PAIRS, sample_count = 200)]
fn long(bencher: Bencher, pair: (&str, &str)) {
    bench(bencher, best(), pair, LONG);
}

#[divan::bench(args = levels(), sample_count = 200)]
fn short_float8_e4m3fn(bencher: Bencher, level: Level) {
    bench(bencher, level, ("float8_e4m3fn", "float8_e4m3fn"), SHORT);
}
