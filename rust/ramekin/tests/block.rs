//! Block quantisation against integers: every rule, rounding, source and instruction set.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use ramekin::block::{
    Array, Elements, Parts, Quantize, Quantized, Scale, ScaleRounding, Scales, ScalesMut, Scheme, dequantize,
    quantize,
};
use ramekin::convert::Conversion;
use ramekin::format::Zero;
use ramekin::isa::Level;
use ramekin::parallel::set_threads;
use ramekin::random::Words;
use ramekin::reference::{self, Value};
use ramekin::{FloatFormat, Rounding};

fn named(name: &str) -> &'static FloatFormat {
    FloatFormat::named(name).unwrap()
}

/// The magnitudes of OCP's INT8 elements, in units of 2^-6.
fn int8() -> FloatFormat {
    FloatFormat {
        name: "int8".into(),
        exponent_bits: 1,
        mantissa_bits: 6,
        bias: 1,
        has_infinity: false,
        high_nans: 0,
        zero: Zero::Signed,
        signed: true,
    }
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let x = *state ^ (*state >> 33);
    x.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ (x >> 29)
}

/// Blocks of numbers around some power of two each; some of zeros, subnormals, powers of two and their neighbours, and
/// with infinity or NaN.
fn numbers(n: usize, block: usize, state: &mut u64) -> Vec<f32> {
    let mut all = Vec::with_capacity(n);
    while all.len() < n {
        let (kind, centre) = (random(state) % 8, random(state) as u32 % 250 + 2);
        for i in 0..block.min(n - all.len()) {
            let bits = random(state) as u32;
            let exponent = (centre.saturating_sub(bits >> 5 & 7)) << 23;
            let sign = bits & 0x8000_0000;
            all.push(f32::from_bits(match kind {
                0 => sign,
                1 => sign | (bits & 0x007f_ffff),
                // Next to a power of two, or on it.
                2 => sign | (exponent + (bits >> 9 & 1)).saturating_sub(bits >> 8 & 1),
                3 if i == 5 => sign | 0x7f80_0000 | if bits & 1 == 0 { 0 } else { bits & 0x007f_ffff },
                // Few bits: ties.
                4 => sign | exponent | (bits & 0x007c_0000),
                _ => sign | exponent | (bits & 0x007f_ffff),
            }));
        }
    }
    all
}

fn finite(value: Value) -> Option<(bool, u64, i32)> {
    match value {
        Value::Finite { negative, significand, exponent } => Some((negative, significand, exponent)),
        _ => None,
    }
}

/// Whether a <= b, both not negative.
fn at_most((a, i): (u64, i32), (b, j): (u64, i32)) -> bool {
    if a == 0 || b == 0 {
        return a == 0;
    }
    let top = |x: u64, e: i32| 64 - x.leading_zeros() as i32 + e;
    if top(a, i) != top(b, j) {
        return top(a, i) < top(b, j);
    }
    let low = i.min(j);
    u128::from(a) << (i - low) <= u128::from(b) << (j - low)
}

/// The exponent of a block's scale, from the rules as they are said.
fn exponent(rounding: ScaleRounding, element: &FloatFormat, (significand, shift): (u64, i32)) -> i32 {
    if significand == 0 {
        return -127;
    }
    let floor = |x: u64| 63 - x.leading_zeros() as i32;
    let emax = element.max_exponent();
    let exponent = match rounding {
        ScaleRounding::Floor => floor(significand) + shift - emax,
        ScaleRounding::Ceil => floor(significand) + i32::from(!significand.is_power_of_two()) + shift - emax,
        ScaleRounding::Even => {
            // To a leading bit and mantissa_bits more, halves up.
            let excess = floor(significand) - element.mantissa_bits as i32;
            let rounded = if excess <= 0 { significand } else { significand + (1 << (excess - 1)) };
            floor(rounded) + shift - emax
        }
        ScaleRounding::Rceil => {
            let (_, max, of_max) = finite(reference::decode(element, element.max_code())).unwrap();
            (-2000..).find(|&e| at_most((significand, shift), (max, of_max + e))).unwrap()
        }
    };
    exponent.clamp(-127, 127)
}

struct Run<'a> {
    how: Quantize<'a>,
    columns: usize,
    scales: usize,
}

impl Run<'_> {
    fn at(&self, level: Level, array: &Array<'_>, rows: usize) -> (Vec<u16>, Vec<u32>, Quantized) {
        let stop = AtomicBool::new(false);
        let scheme = &self.how.scheme;
        let len = rows * scheme.row_codes(self.columns);
        let (mut bytes, mut words) = (vec![0xaau8; self.scales], vec![f32::INFINITY; self.scales]);
        let scales = match scheme.scale() {
            Scale::Float32(_) => ScalesMut::F32(&mut words),
            _ => ScalesMut::U8(&mut bytes),
        };
        let is_float = matches!(scales, ScalesMut::F32(_));
        let (codes, done) = if self.wide() {
            let mut codes = vec![0xaaaau16; len];
            let done = quantize(level, &self.how, array, &mut codes, scales, &stop).unwrap();
            (codes, done)
        } else {
            let mut codes = vec![0xaau8; len];
            let done = quantize(level, &self.how, array, &mut codes, scales, &stop).unwrap();
            (codes.into_iter().map(u16::from).collect(), done)
        };
        let scales = if is_float {
            words.iter().map(|x| x.to_bits()).collect()
        } else {
            bytes.iter().map(|&x| u32::from(x)).collect()
        };
        (codes, scales, done)
    }

    fn wide(&self) -> bool {
        self.how.scheme.element().bits() > 8
    }
}

/// Codes out of a row of packed ones.
fn unpacked(codes: &[u16], bits: u32, columns: usize) -> Vec<u16> {
    if bits >= 8 {
        return codes.to_vec();
    }
    let bit = |n: usize| codes[n / 8] >> (n % 8) & 1;
    (0..columns)
        .map(|i| (0..bits as usize).fold(0, |code, b| code | bit(i * bits as usize + b) << b))
        .collect()
}

fn to_integer(code: u32) -> u16 {
    let magnitude = (code & 0x7f) as u8;
    u16::from(if code & 0x80 != 0 { magnitude.wrapping_neg() } else { magnitude })
}

/// Every power-of-two scheme on float32 rows, and on the same numbers as float64 that float32 lacks.
#[test]
fn powers_of_two_are_exact() {
    let int8 = int8();
    let elements = [
        named("float8_e4m3fn"),
        named("float8_e5m2"),
        named("float6_e3m2fn"),
        named("float6_e2m3fn"),
        named("float4_e2m1fn"),
        &int8,
        named("float16"),
        named("bfloat16"),
        named("float8_e4m3fnuz"),
    ];
    let mut state = 1;
    for element in elements {
        let integer = element.name == "int8";
        for scale_rounding in ScaleRounding::ALL {
            for rounding in Rounding::ALL {
                for (rows, columns, width) in [(3, 75, 32), (2, 16, 16), (1, 4100, 32), (2, 30, 7)] {
                    let x = numbers(rows * columns, width, &mut state);
                    // As float64, a little off: what rounds twice would be seen.
                    let wide: Vec<f64> = x
                        .iter()
                        .map(|&x| {
                            let bits = f64::from(x).to_bits();
                            f64::from_bits(if bits << 1 == 0 {
                                bits
                            } else {
                                bits + random(&mut state) % 3 - 1
                            })
                        })
                        .collect();
                    let words = Words { seed: 99, position: 0 };
                    let how = Quantize {
                        scheme: Scheme::new(
                            element,
                            integer,
                            Scale::PowerOfTwo(scale_rounding),
                            Some((1, width)),
                        )
                        .unwrap(),
                        rounding: Conversion { rounding, words, ..Conversion::default() },
                        amax: None,
                        stats: false,
                    };
                    let scales = rows * columns.div_ceil(width);
                    let run = Run { how, columns, scales };
                    let dimensions = [(rows, columns as isize), (columns, 1)];
                    for level in Level::available() {
                        let what = format!(
                            "{element} {} {} {rows}x{columns}/{width} {level}",
                            scale_rounding.name(),
                            rounding.name()
                        );
                        let array = Array::new(Elements::F32(&x), &dimensions, 0).unwrap();
                        let values: Vec<Value> = x.iter().map(|&x| x.into()).collect();
                        check(&run, level, &array, &values, scale_rounding, &what);
                        let array = Array::new(Elements::F64(&wide), &dimensions, 0).unwrap();
                        let values: Vec<Value> = wide.iter().map(|&x| x.into()).collect();
                        check(&run, level, &array, &values, scale_rounding, &format!("{what} float64"));
                    }
                }
            }
        }
    }
}

fn check(
    run: &Run<'_>,
    level: Level,
    array: &Array<'_>,
    values: &[Value],
    scale_rounding: ScaleRounding,
    what: &str,
) {
    let (element, columns) = (run.how.scheme.element(), run.columns);
    let (_, width) = run.how.scheme.block().unwrap();
    let (codes, scales, _) = run.at(level, array, values.len() / columns);
    let mut scales = scales.into_iter();
    let row_codes = codes.len() / (values.len() / columns);
    for (r, (row, codes)) in values.chunks(columns).zip(codes.chunks(row_codes)).enumerate() {
        let codes = unpacked(codes, element.bits(), columns);
        for (b, (block, codes)) in row.chunks(width).zip(codes.chunks(width)).enumerate() {
            let scale = scales.next().unwrap();
            let finites: Option<Vec<_>> = block.iter().map(|&x| finite(x)).collect();
            let Some(finites) = finites else {
                assert_eq!(scale, 0xff, "{what} row {r} block {b}");
                assert!(codes.iter().all(|&code| code == 0), "{what} row {r} block {b}");
                continue;
            };
            let mut most = (0, 0);
            for &(_, significand, exponent) in &finites {
                if !at_most((significand, exponent), most) {
                    most = (significand, exponent);
                }
            }
            let e = exponent(scale_rounding, element, most);
            assert_eq!(scale as i32, e + 127, "{what} row {r} block {b}");
            for (i, (&(negative, significand, exponent), &code)) in finites.iter().zip(codes).enumerate() {
                let at = r * columns + b * width + i;
                let options = Conversion { saturate: true, ..run.how.rounding }.after(at);
                let scaled = Value::Finite { negative, significand, exponent: exponent - e };
                let right = reference::encode(element, options, scaled);
                let right = if element.name == "int8" { to_integer(right) } else { right as u16 };
                assert_eq!(code, right, "{what} element {at}: {scaled:?}");
            }
        }
    }
}

/// Strides, formats and threads do not show.
#[test]
fn layouts_and_threads_give_the_same_bits() {
    let mut state = 5;
    let (rows, columns) = (37, 4000);
    let x = numbers(rows * columns, 32, &mut state);
    let mut turned = vec![0.0f32; x.len()];
    for r in 0..rows {
        for c in 0..columns {
            turned[c * rows + r] = x[r * columns + c];
        }
    }
    let back: Vec<f32> = x.iter().rev().copied().collect();
    for (scale, element, blocks) in [
        (Scale::PowerOfTwo(ScaleRounding::Even), "float8_e4m3fn", (1, 32)),
        (Scale::PowerOfTwo(ScaleRounding::Floor), "float4_e2m1fn", (1, 32)),
        (Scale::PowerOfTwo(ScaleRounding::Floor), "float4_e2m1fn", (1, 40)),
        (Scale::Small { format: named("float8_e4m3fn"), tensor: true }, "float4_e2m1fn", (1, 16)),
        (Scale::Small { format: named("float8_e4m3fn"), tensor: true }, "float4_e2m1fn", (16, 16)),
        (Scale::Float32(None), "float8_e5m2", (8, 128)),
        (Scale::Float32(Some(ScaleRounding::Rceil)), "float8_e4m3fn", (1, 1 << 30)),
        (Scale::Float32(None), "float8_e4m3fn", (1 << 30, 300)),
        (Scale::Float32(None), "float6_e3m2fn", (0, 0)),
    ] {
        let block = (blocks != (0, 0)).then_some(blocks);
        let across = block.map_or(1, |(_, wide)| columns.div_ceil(wide.min(columns)));
        let down = block.map_or(1, |(high, _)| rows.div_ceil(high.min(rows)));
        let mut codes_of = HashMap::new();
        for (rounding, stats) in
            [(Rounding::TiesToEven, true), (Rounding::TiesToEven, false), (Rounding::Stochastic, true)]
        {
            let how = Quantize {
                scheme: Scheme::new(named(element), false, scale, block).unwrap(),
                rounding: Conversion {
                    rounding,
                    words: Words { seed: 3, position: 0 },
                    ..Conversion::default()
                },
                amax: None,
                stats,
            };
            let run = Run { how, columns, scales: across * down };
            let mut first = None;
            for threads in 1..=3 {
                set_threads(threads).unwrap();
                for level in Level::available() {
                    let arrays = [
                        (&x, [(rows, columns as isize), (columns, 1)], 0),
                        (&turned, [(rows, 1), (columns, rows as isize)], 0),
                        (&back, [(rows, -(columns as isize)), (columns, -1)], x.len() - 1),
                    ];
                    for (memory, dimensions, offset) in arrays {
                        let array = Array::new(Elements::F32(memory), &dimensions, offset).unwrap();
                        let (codes, scales, done) = run.at(level, &array, rows);
                        assert_eq!(done.sums.is_some(), stats);
                        let (tensor, sums) =
                            (done.tensor_scale.map(f64::to_bits), format!("{:?}", done.sums));
                        let what = format!("{element} {blocks:?} {threads} {level} {dimensions:?}");
                        // Statistics change nothing.
                        let done = (codes, scales, tensor);
                        assert!(*codes_of.entry(rounding).or_insert_with(|| done.clone()) == done, "{what}");
                        assert!(*first.get_or_insert_with(|| sums.clone()) == sums, "{what}");
                    }
                }
            }
        }
    }
}

/// Rows of every length, whole groups of blocks or not, come to the same bits at every level.
#[test]
fn rows_of_any_length() {
    let (rows, mut state) = (3, 11);
    let small = Scale::Small { format: named("float8_e4m3fn"), tensor: true };
    let of_powers = Scale::PowerOfTwo(ScaleRounding::Rceil);
    for columns in [1, 15, 16, 17, 64, 255, 256, 257, 511, 1023, 1024, 2047, 2048, 2049, 4129, 9000] {
        for width in [16, 32] {
            let x = numbers(rows * columns, width, &mut state);
            for (scale, element) in [(small, "float4_e2m1fn"), (small, "float8_e5m2")]
                .into_iter()
                .chain(["float4_e2m1fn", "float8_e4m3fn", "float8_e4m3fnuz"].map(|name| (of_powers, name)))
            {
                let how = Quantize {
                    scheme: Scheme::new(named(element), false, scale, Some((1, width))).unwrap(),
                    rounding: Conversion::default(),
                    amax: None,
                    stats: false,
                };
                let run = Run { how, columns, scales: rows * columns.div_ceil(width) };
                let dimensions = [(rows, columns as isize), (columns, 1)];
                let array = Array::new(Elements::F32(&x), &dimensions, 0).unwrap();
                let (codes, scales, _) = run.at(Level::Portable, &array, rows);
                for level in Level::available() {
                    let (level_codes, level_scales, _) = run.at(level, &array, rows);
                    let same = (&level_codes, &level_scales) == (&codes, &scales);
                    assert!(same, "{element} {width} {columns} {level}");
                }
            }
        }
    }
}

/// Codes and scales stand for what they say, in both machine floats.
#[test]
fn values_are_products() {
    let stop = AtomicBool::new(false);
    let int8 = int8();
    let (rows, columns) = (5, 70);
    let mut state = 11;
    for element in [named("float8_e4m3fn"), named("float6_e2m3fn"), named("float4_e2m1fn"), &int8] {
        for (format, tensor) in
            [(named("float8_e8m0fnu"), None), (named("float8_e4m3fn"), Some(f64::from(0.37f32)))]
        {
            for block in [(1, 32), (4, 16), (1, 9)] {
                let integer = element.name == "int8";
                let scale = match tensor {
                    None => Scale::PowerOfTwo(ScaleRounding::Floor),
                    Some(_) => Scale::Small { format, tensor: true },
                };
                let scheme = Scheme::new(element, integer, scale, Some(block)).unwrap();
                let codes: Vec<u8> =
                    (0..rows * scheme.row_codes(columns)).map(|_| random(&mut state) as u8).collect();
                let scales: Vec<u8> = (0..rows.div_ceil(block.0) * columns.div_ceil(block.1))
                    .map(|_| random(&mut state) as u8)
                    .collect();
                for level in Level::available() {
                    let parts = Parts {
                        lengths: &[rows, columns],
                        codes: &codes,
                        scales: Scales::U8(&scales),
                        tensor_scale: tensor,
                    };
                    let (mut narrow, mut wide) = (vec![0.0f32; rows * columns], vec![0.0f64; rows * columns]);
                    dequantize(level, &scheme, &parts, &mut narrow, &stop).unwrap();
                    dequantize(level, &scheme, &parts, &mut wide, &stop).unwrap();
                    let row_codes = scheme.row_codes(columns);
                    for r in 0..rows {
                        let row: Vec<u16> =
                            codes[r * row_codes..][..row_codes].iter().map(|&x| x.into()).collect();
                        for (c, code) in unpacked(&row, element.bits(), columns).into_iter().enumerate() {
                            let scale = scales[r / block.0 * columns.div_ceil(block.1) + c / block.1];
                            let number = if integer {
                                f64::from(code as u8 as i8) / 64.0
                            } else {
                                value(reference::decode(element, code.into()))
                            };
                            let exact = number * value(reference::decode(format, scale.into()));
                            let tensor = tensor.unwrap_or(1.0);
                            let got = (narrow[r * columns + c], wide[r * columns + c]);
                            // Products of a code's bits and a scale's are exact in float64; in float32 there is a
                            // rounding for each factor.
                            let right = ((exact as f32) * tensor as f32, exact * tensor);
                            let same =
                                got.0.to_bits() == right.0.to_bits() && got.1.to_bits() == right.1.to_bits();
                            let nan = got.0.is_nan() && got.1.is_nan() && exact.is_nan();
                            assert!(same || nan, "{element} {level} {code:#x} {scale:#x}: {got:?} {right:?}");
                        }
                    }
                }
            }
        }
    }
}

fn value(value: Value) -> f64 {
    match value {
        Value::Finite { negative, significand, exponent } => {
            let magnitude = significand as f64 * 2f64.powi(exponent);
            if negative { -magnitude } else { magnitude }
        }
        Value::Infinity { negative: true } => f64::NEG_INFINITY,
        Value::Infinity { negative: false } => f64::INFINITY,
        Value::Nan { .. } => f64::NAN,
    }
}
