//! Elements of known scale to codes.

use std::ops::Range;

use super::quantize::Quantize;
use super::scale::Scales;
use super::scheme::Scale;
use super::spread::{Product, Spread, Times};
use super::stats::{Sum, Sums};
use crate::convert::pack::pack_here;
use crate::convert::{Code, Products, decode, encode, encode_pairs, encode_products, fits};
use crate::float::{Bits, Float};
use crate::format::FloatFormat;
use crate::isa::{Kernel, Level};
use crate::rounding::Rounding;
use crate::simd::{Ahead, Simd};

/// A part of a row, and what the blocks' elements are multiplied by.
pub(super) struct Place<'a, F> {
    pub row: usize,
    pub columns: Range<usize>,
    /// Columns of the first block that lie before.
    pub first: usize,
    pub factors: &'a [F],
    pub ahead: Ahead,
}

impl<'a, F> Place<'a, F> {
    /// What is left after some columns, whole blocks of `width`.
    fn after(&self, columns: usize, width: usize) -> Self {
        let Range { start, end } = self.columns;
        Self { columns: start + columns..end, factors: &self.factors[columns / width..], ..*self }
    }
}

/// Rounds parts of rows, and tells what that did.
pub(super) struct Rounder<'a, F> {
    level: Level,
    how: &'a Quantize<'a>,
    /// Columns of a row and of a block.
    columns: usize,
    width: usize,
    scaled: Vec<F>,
    codes: Vec<u8>,
    /// Of sums: what elements became, in a machine float that has them all, and the scales of blocks.
    narrow: Vec<f32>,
    wide: Vec<f64>,
    scales: Vec<f64>,
}

impl<'a, F: Float> Rounder<'a, F> {
    pub fn new(level: Level, how: &'a Quantize<'a>, columns: usize, width: usize) -> Self {
        Self {
            level,
            how,
            columns,
            width,
            scaled: Vec::new(),
            codes: Vec::new(),
            narrow: Vec::new(),
            wide: Vec::new(),
            scales: Vec::new(),
        }
    }

    /// Rounds a part of a row.
    pub fn round<C: Code>(&mut self, line: &[F], place: &Place<'_, F>, out: &mut [C]) {
        let (level, scheme) = (self.level, &self.how.scheme);
        match C::as_u8(out) {
            Some(bytes) if scheme.element.bits() < 8 || scheme.integer => {
                // (Sums are made of codes that are not packed.)
                let done = if self.how.stats { 0 } else { self.encode_pairs(line, place, bytes) };
                let (line, bytes) = (&line[done..], &mut bytes[done / 2..]);
                if line.is_empty() {
                    return;
                }
                let mut codes = std::mem::take(&mut self.codes);
                codes.resize(line.len(), 0);
                self.encode(line, &place.after(done, self.width), &mut codes);
                if scheme.integer {
                    level.run(ToIntegers { codes: &codes, integers: bytes });
                } else {
                    pack_here(level, scheme.element.bits(), &codes, bytes);
                }
                self.codes = codes;
            }
            _ => self.encode(line, place, out),
        }
    }

    /// Encodes and packs what there is a short way for: so many elements, whole blocks.
    fn encode_pairs(&self, line: &[F], place: &Place<'_, F>, bytes: &mut [u8]) -> usize {
        let (element, rounding) = (self.how.scheme.element, self.how.rounding.rounding);
        if self.how.scheme.integer {
            return 0;
        }
        encode_pairs(self.level, element, rounding, &self.products(line, place), bytes)
    }

    fn products<'b>(&self, row: &'b [F], place: &Place<'b, F>) -> Products<'b, F> {
        // Blocks with NaN have factors of zero, but under scales in float32.
        let numbers = !matches!(self.how.scheme.scale, Scale::Float32(_));
        let (first, factors, ahead) = (place.first, place.factors, place.ahead);
        Products { row, first, width: self.width, factors, numbers, ahead }
    }

    fn encode<C: Code>(&mut self, line: &[F], place: &Place<'_, F>, codes: &mut [C]) {
        let (level, element) = (self.level, self.how.scheme.element);
        let mut options = self.how.rounding.after(place.row * self.columns + place.columns.start);
        options.saturate = true;
        let products = self.products(line, place);
        if encode_products(level, element, options.rounding, &products, codes) {
            return;
        }
        self.scaled.resize(line.len(), F::from_bits_of(F::Bits::ZERO));
        level.run(Spread { products, product: self.product(), out: &mut self.scaled });
        encode(level, element, options, &self.scaled, codes);
    }

    /// How elements come to the numbers that are rounded. Over powers of two they must be exact: to nearest, and at
    /// random, those near zero are all alike, but not where rounding is directed.
    fn product(&self) -> Product {
        match (self.how.scheme.scale, self.how.rounding.rounding) {
            (Scale::PowerOfTwo(_), Rounding::TowardPositive | Rounding::TowardNegative | Rounding::ToOdd) => {
                Product::Sticky
            }
            _ => Product::Cleared,
        }
    }

    /// What rounding did to the part that was rounded last, whose codes are `out`, given the scales of its blocks, from
    /// `at` on, and that of the tensor.
    pub fn sums<C: Code>(
        &mut self,
        line: &[F],
        place: &Place<'_, F>,
        out: &[C],
        (scales, at): (Scales<'_>, usize),
        tensor_scale: Option<f64>,
    ) -> Sums {
        let (level, scheme) = (self.level, &self.how.scheme);
        let mut of_blocks = std::mem::take(&mut self.scales);
        of_blocks.resize(place.factors.len(), 0.0);
        scales.values(level, scheme.scale, at, &mut of_blocks);
        if let Some(scale) = tensor_scale {
            level.run(Times { scale, out: &mut of_blocks });
        }
        let sums = if fits::<f32>(scheme.element) {
            let mut values = std::mem::take(&mut self.narrow);
            let sums = self.compared(line, place, out, &of_blocks, &mut values);
            self.narrow = values;
            sums
        } else {
            let mut values = std::mem::take(&mut self.wide);
            let sums = self.compared(line, place, out, &of_blocks, &mut values);
            self.wide = values;
            sums
        };
        self.scales = of_blocks;
        sums
    }

    fn compared<C: Code, V: Float>(
        &self,
        line: &[F],
        place: &Place<'_, F>,
        out: &[C],
        scales: &[f64],
        values: &mut Vec<V>,
    ) -> Sums {
        let (level, scheme) = (self.level, &self.how.scheme);
        values.resize(line.len(), V::from_bits_of(V::Bits::ZERO));
        if scheme.element.bits() < 8 || scheme.integer {
            decode(level, scheme.element, &self.codes, values);
        } else {
            decode(level, scheme.element, out, values);
        }
        let largest = overflow(scheme.element);
        level.run(Sum { x: line, values, first: place.first, width: self.width, scales, largest })
    }
}

/// The largest number of a format and half a unit in its last place: what is larger does not round to it.
fn overflow(format: &FloatFormat) -> f64 {
    let mut last = [0.0f64; 2];
    decode(Level::Portable, format, &[format.max_code() - 1, format.max_code()], &mut last);
    last[1] + (last[1] - last[0]) / 2.0
}

/// Sign and magnitude to two's complement.
struct ToIntegers<'a> {
    codes: &'a [u8],
    integers: &'a mut [u8],
}

impl Kernel for ToIntegers<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (integer, &code) in self.integers.iter_mut().zip(self.codes) {
            let magnitude = code & 0x7f;
            *integer = if code > magnitude { magnitude.wrapping_neg() } else { magnitude };
        }
    }
}
