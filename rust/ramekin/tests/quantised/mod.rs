//! Matrices of codes and scales for tests, and their values by exact arithmetic.

use std::fmt;

use proptest::prelude::*;
use ramekin::FloatFormat;
use ramekin::format::{FLOAT32, Zero};
use ramekin::matmul::{Codes, Operand, Scales, Stack};
use ramekin::reference::{self, Value};

pub fn generator(mut state: u64) -> impl FnMut() -> u32 {
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    }
}

/// What a matrix is made of.
#[derive(Clone, Debug)]
pub struct Kind {
    pub element: FloatFormat,
    pub scale: FloatFormat,
}

impl Kind {
    pub fn mxint8() -> Self {
        Self { element: integers(8), scale: FloatFormat::named("float8_e8m0fnu").unwrap().clone() }
    }
}

/// The format whose magnitudes are the integers of so many bits.
fn integers(bits: u32) -> FloatFormat {
    FloatFormat {
        name: format!("int{bits}").into(),
        exponent_bits: 1,
        mantissa_bits: bits - 2,
        bias: 1,
        signed: true,
        has_infinity: false,
        high_nans: 0,
        zero: Zero::Signed,
    }
}

pub fn kinds() -> impl Strategy<Value = Kind> {
    let mut elements: Vec<FloatFormat> = [
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float6_e3m2fn",
        "float6_e2m3fn",
        "float4_e2m1fn",
        "float16",
        "bfloat16",
    ]
    .map(|name| FloatFormat::named(name).unwrap().clone())
    .to_vec();
    elements.extend([integers(8), integers(4), FloatFormat::p3109(5, 3, true, true).unwrap()]);
    let scales = ["float8_e8m0fnu", "float8_e4m3fn", "float32", "float16"];
    (prop::sample::select(elements), prop::sample::select(scales.to_vec()))
        .prop_map(|(element, scale)| Kind { element, scale: FloatFormat::named(scale).unwrap().clone() })
}

/// A matrix of codes, and the memory they lie in.
#[derive(Clone)]
pub struct Quantised {
    kind: Kind,
    pub shape: (usize, usize),
    block: (usize, usize),
    /// Bit 0: the other dimension's neighbours are neighbours in memory; bit 1: there is something between the rows.
    layout: u8,
    codes: Vec<u32>,
    scales: Vec<u32>,
    pub tensor_scale: Option<f32>,
    bytes: Vec<u8>,
    halves: Vec<u16>,
    scale_bytes: Vec<u8>,
    scale_halves: Vec<u16>,
    scale_floats: Vec<f32>,
}

impl fmt::Debug for Quantised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kind { element, scale } = &self.kind;
        write!(f, "{element}/{scale} {:?} in {:?} layout {}", self.shape, self.block, self.layout)
    }
}

fn f64_of(value: Value) -> f64 {
    match value {
        Value::Finite { negative, significand, exponent } => {
            let magnitude = significand as f64 * 2f64.powi(exponent);
            if negative { -magnitude } else { magnitude }
        }
        Value::Infinity { negative } => {
            if negative {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            }
        }
        Value::Nan { .. } => f64::NAN,
    }
}

impl Quantised {
    /// Random codes; scales near one, or anything if `wild`.
    pub fn new(
        kind: Kind,
        shape: (usize, usize),
        block: (usize, usize),
        layout: u8,
        wild: bool,
        bits: &mut impl FnMut() -> u32,
    ) -> Self {
        let Kind { element, scale } = &kind;
        let special = |format: &FloatFormat, code: u32| {
            let magnitude = code & format.magnitude_mask();
            magnitude > format.max_code() || (format.zero == Zero::Unsigned && code == format.sign_bit())
        };
        let mask = (1u32 << element.bits()) - 1;
        let codes = (0..shape.0 * shape.1)
            .map(|_| {
                let code = bits() & mask;
                // Few special values, or nothing else were seen.
                if special(element, code) && (!wild || !bits().is_multiple_of(64)) { 0 } else { code }
            })
            .collect();
        let blocks = (shape.0.div_ceil(block.0), shape.1.div_ceil(block.1));
        let scales = (0..blocks.0 * blocks.1)
            .map(|_| {
                let random = bits();
                match (scale.bits(), wild) {
                    (32, true) => random & 0x7fff_ffff,
                    (32, false) => (random & 0x00ff_ffff) + 0x3f00_0000,
                    (_, true) => {
                        let code = random & scale.magnitude_mask();
                        if special(scale, code) && !bits().is_multiple_of(64) { 1 } else { code }
                    }
                    (16, _) => (random & 0x0fff) + 0x3400,
                    (_, _) if scale.mantissa_bits == 0 => (random & 7) + 124,
                    (_, _) => (random & 0x1f) + 0x20,
                }
            })
            .collect();
        let tensor_scale =
            (scale.mantissa_bits == 3).then(|| f32::from_bits((bits() & 0x00ff_ffff) + 0x3f00_0000));
        let (bytes, halves, scale_bytes) = (vec![], vec![], vec![]);
        let (scale_halves, scale_floats) = (vec![], vec![]);
        let mut made = Self {
            kind,
            shape,
            block,
            layout,
            codes,
            scales,
            tensor_scale,
            bytes,
            halves,
            scale_bytes,
            scale_halves,
            scale_floats,
        };
        made.lay_out();
        made
    }

    pub fn set_scales(&mut self, scale: impl Fn(usize) -> u32) {
        for (i, x) in self.scales.iter_mut().enumerate() {
            *x = scale(i);
        }
        self.lay_out();
    }

    pub fn set_elements(&mut self, element: impl Fn(usize, usize, u32) -> u32) {
        for (i, x) in self.codes.iter_mut().enumerate() {
            *x = element(i / self.shape.1, i % self.shape.1, *x);
        }
        self.lay_out();
    }

    fn integers(&self) -> bool {
        self.kind.element.name.starts_with("int")
    }

    fn packed(&self) -> bool {
        self.kind.element.bits() < 8
    }

    fn blocks(&self) -> (usize, usize) {
        (self.shape.0.div_ceil(self.block.0), self.shape.1.div_ceil(self.block.1))
    }

    /// Strides in places of the codes, and the places in all.
    fn strides(&self) -> ((usize, usize), usize) {
        let width = if self.packed() { self.kind.element.bits() as usize } else { 1 };
        let byte = if self.packed() { 8 } else { 1 };
        let gap = if self.layout & 2 == 0 { 0 } else { 3 * byte };
        let (lines, length) = if self.layout & 1 == 0 { self.shape } else { (self.shape.1, self.shape.0) };
        let line = (length * width).next_multiple_of(byte) + gap;
        let strides = if self.layout & 1 == 0 { (line, width) } else { (width, line) };
        (strides, lines * line)
    }

    fn lay_out(&mut self) {
        let ((down, across), places) = self.strides();
        let bits = self.kind.element.bits();
        // What lies between the elements is not read.
        self.bytes = vec![0xff; if self.packed() { places / 8 } else { places }];
        self.halves = vec![0xffff; places];
        for (i, &code) in self.codes.iter().enumerate() {
            let at = i / self.shape.1 * down + i % self.shape.1 * across;
            if self.packed() {
                for b in 0..bits as usize {
                    let bit = (code >> b & 1) as u8;
                    let to = &mut self.bytes[(at + b) / 8];
                    *to = *to & !(1 << ((at + b) % 8)) | bit << ((at + b) % 8);
                }
            } else if bits == 8 {
                self.bytes[at] = code as u8;
            } else {
                self.halves[at] = code as u16;
            }
        }
        self.scale_bytes = self.scales.iter().map(|&x| x as u8).collect();
        self.scale_halves = self.scales.iter().map(|&x| x as u16).collect();
        self.scale_floats = self.scales.iter().map(|&x| f32::from_bits(x)).collect();
    }

    fn codes(&self) -> Codes<'_> {
        match self.kind.element.bits() {
            ..8 => Codes::Packed(&self.bytes),
            8 => Codes::U8(&self.bytes),
            _ => Codes::U16(&self.halves),
        }
    }

    fn scales(&self) -> Scales<'_> {
        let codes = match self.kind.scale.bits() {
            ..=8 => Codes::U8(&self.scale_bytes),
            16 => Codes::U16(&self.scale_halves),
            _ => Codes::F32(&self.scale_floats),
        };
        Scales::new(codes, &self.kind.scale, self.block, (self.blocks().1 as isize, 1), 0).unwrap()
    }

    pub fn operand(&self) -> Operand<'_> {
        let (down, across) = self.strides().0;
        let strides = (down as isize, across as isize);
        let operand = Operand::new(self.codes(), &self.kind.element, self.shape, strides, 0).unwrap();
        let operand = if self.integers() { operand.of_integers().unwrap() } else { operand };
        let operand = operand.scaled(self.scales()).unwrap();
        self.tensor_scale.map_or(operand, |scale| operand.with_tensor_scale(scale))
    }

    fn stack(&self, shape: (usize, usize), batch: (usize, usize), scales: usize) -> Stack<'_> {
        let (down, across) = self.strides().0;
        let batch = vec![(batch.0, batch.1 as isize)];
        let layout = (shape, (down as isize, across as isize));
        let stack = Stack::new(self.codes(), &self.kind.element, batch, layout, 0).unwrap();
        let stack = stack.scaled(self.scales(), vec![scales as isize]).unwrap();
        self.tensor_scale.map_or(stack.clone(), |scale| stack.with_tensor_scale(scale))
    }

    pub fn rows_as_batch(&self, count: usize) -> Stack<'_> {
        let rows = self.shape.0 / count;
        // One block of all rows is one of each batch's.
        let scales = if self.block.0 >= self.shape.0 { 0 } else { rows / self.block.0 * self.blocks().1 };
        self.stack((rows, self.shape.1), (count, rows * self.strides().0.0), scales)
    }

    pub fn columns_as_batch(&self, count: usize) -> Stack<'_> {
        let columns = self.shape.1 / count;
        let scales = if self.block.1 >= self.shape.1 { 0 } else { columns / self.block.1 };
        self.stack((self.shape.0, columns), (count, columns * self.strides().0.1), scales)
    }

    pub fn repeated(&self, count: usize) -> Stack<'_> {
        self.stack(self.shape, (count, 0), 0)
    }

    /// Elements, times their scales where those are theirs: exact in float64, rounded once to float32.
    pub fn values(&self) -> Vec<f32> {
        let Kind { element, scale } = &self.kind;
        let value = |(i, &code): (usize, &u32)| {
            let (row, column) = (i / self.shape.1, i % self.shape.1);
            let value = if self.integers() {
                let unused = 32 - element.bits();
                f64::from((code << unused) as i32 >> unused) / f64::from(1u32 << (element.bits() - 2))
            } else {
                f64_of(reference::decode(element, code))
            };
            if *scale == FLOAT32 {
                return value as f32;
            }
            (value * f64_of(reference::decode(scale, self.scale_code(row, column)))) as f32
        };
        self.codes.iter().enumerate().map(value).collect()
    }

    fn scale_code(&self, row: usize, column: usize) -> u32 {
        self.scales[row / self.block.0 * self.blocks().1 + column / self.block.1]
    }

    /// The float32 scale there.
    pub fn outer(&self, row: usize, column: usize) -> Option<f32> {
        (self.kind.scale == FLOAT32).then(|| f32::from_bits(self.scale_code(row, column)))
    }

    /// Elements that share a float32 scale along a dimension, if there are several scales.
    pub fn tile(&self, dimension: usize) -> Option<usize> {
        let (block, length) = [(self.block.0, self.shape.0), (self.block.1, self.shape.1)][dimension];
        (self.kind.scale == FLOAT32 && block < length).then_some(block)
    }
}
