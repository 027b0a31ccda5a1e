//! Conversion of 16 Ki elements in cache, one thread: `cargo bench -p ramekin --bench convert`.

use divan::{Bencher, black_box, counter::ItemsCount};
use ramekin::convert::pack::{pack, unpack};
use ramekin::convert::{Conversion, decode, encode, round_to};
use ramekin::isa::Level;
use ramekin::{FloatFormat, Rounding};

const N: usize = 1 << 14;
const FORMATS: [&str; 7] = [
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e8m0fnu",
    "float4_e2m1fn",
    "bfloat16",
    "float16",
];

fn main() {
    divan::main();
}

/// Numbers over many binades, so that every path of a conversion is taken.
fn inputs() -> Vec<f32> {
    (0..N).map(|i| (i as f32 * 0.37).sin() * ((i % 17) as f32 - 8.0).exp2()).collect()
}

fn levels() -> Vec<Level> {
    Level::available().collect()
}

fn wide(name: &str) -> (&'static FloatFormat, bool) {
    let format = FloatFormat::named(name).expect("a named format");
    (format, format.bits() > 8)
}

fn bench_encode(bencher: Bencher, name: &str, level: Level, options: Conversion) {
    let (format, wide) = wide(name);
    let src = inputs();
    let bencher = bencher.counter(ItemsCount::new(N));
    if wide {
        let mut dst = vec![0u16; N];
        bencher.bench_local(|| encode(level, format, options, black_box(&src), black_box(&mut dst)));
    } else {
        let mut dst = vec![0u8; N];
        bencher.bench_local(|| encode(level, format, options, black_box(&src), black_box(&mut dst)));
    }
}

#[divan::bench(args = FORMATS, sample_count = 200)]
fn encode_float32(bencher: Bencher, name: &str) {
    let level = *levels().last().expect("the portable level");
    bench_encode(bencher, name, level, Conversion::default());
}

#[divan::bench(args = levels(), sample_count = 200)]
fn encode_float8_e4m3fn(bencher: Bencher, level: Level) {
    bench_encode(bencher, "float8_e4m3fn", level, Conversion::default());
}

#[divan::bench(args = Rounding::ALL, sample_count = 200)]
fn encode_float8_e4m3fn_rounding(bencher: Bencher, rounding: Rounding) {
    let level = *levels().last().expect("the portable level");
    bench_encode(bencher, "float8_e4m3fn", level, Conversion { rounding, ..Conversion::default() });
}

#[divan::bench(args = FORMATS, sample_count = 200)]
fn decode_float32(bencher: Bencher, name: &str) {
    let level = *levels().last().expect("the portable level");
    let (format, wide) = wide(name);
    let mut dst = vec![0f32; N];
    let bencher = bencher.counter(ItemsCount::new(N));
    if wide {
        let src: Vec<u16> = (0..N).map(|i| i as u16).collect();
        bencher.bench_local(|| decode(level, format, black_box(&src), black_box(&mut dst)));
    } else {
        let src: Vec<u8> = (0..N).map(|i| i as u8).collect();
        bencher.bench_local(|| decode(level, format, black_box(&src), black_box(&mut dst)));
    }
}

#[divan::bench(args = [4, 6], sample_count = 200)]
fn pack_codes(bencher: Bencher, bits: u32) {
    let level = *levels().last().expect("the portable level");
    let codes: Vec<u8> = (0..N).map(|i| (i % (1 << bits)) as u8).collect();
    let mut packed = vec![0; N * bits as usize / 8];
    bencher
        .counter(ItemsCount::new(N))
        .bench_local(|| pack(level, bits, black_box(&codes), black_box(&mut packed)).expect("one thread"));
}

#[divan::bench(args = [4, 6], sample_count = 200)]
fn unpack_codes(bencher: Bencher, bits: u32) {
    let level = *levels().last().expect("the portable level");
    let packed: Vec<u8> = (0..N * bits as usize / 8).map(|i| i as u8).collect();
    let mut codes = vec![0; N];
    bencher
        .counter(ItemsCount::new(N))
        .bench_local(|| unpack(level, bits, black_box(&packed), black_box(&mut codes)).expect("one thread"));
}

#[divan::bench(args = FORMATS, sample_count = 200)]
fn round_float32(bencher: Bencher, name: &str) {
    let level = *levels().last().expect("the portable level");
    let (format, src) = (wide(name).0, inputs());
    let mut dst = vec![0f32; N];
    bencher
        .counter(ItemsCount::new(N))
        .bench_local(|| round_to(level, format, Conversion::default(), black_box(&src), black_box(&mut dst)));
}
