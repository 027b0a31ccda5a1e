//! The numbers that codes and scales stand for.

use super::geometry::Geometry;
use super::parts::{Part, parts, span};
use super::scale::Scales;
use super::scheme::Scheme;
use super::spread::{Product, Spread, Times};
use crate::convert::pack::unpack_here;
use crate::convert::{Code, Products, decode};
use crate::float::{Bits, Float};
use crate::fpenv;
use crate::isa::{Kernel, Level};
use crate::parallel::{self, Stop, ThreadsError};
use crate::simd::Ahead;
use crate::simd::Simd;

/// Codes and scales of an array.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a, C> {
    /// Lengths of the array's dimensions, at least one; the last are its columns.
    pub lengths: &'a [usize],
    /// Row after row, as many in each as [`Scheme::row_codes`] says.
    pub codes: &'a [C],
    /// One for each block, row after row.
    pub scales: Scales<'a>,
    /// The scale of the whole tensor above them, a float32.
    pub tensor_scale: Option<f64>,
}

/// Writes the numbers that codes and scales stand for: each element times its block's scale, and that times the
/// tensor's, rounded to nearest even after each step where `F` does not hold the product.
///
/// Once `stop` is true it ends early and leaves them unfinished.
///
/// # Errors
///
/// If the thread pool's setting is wrong.
///
/// # Panics
///
/// If codes, scales or numbers have another size or type, or the CPU lacks `level`.
pub fn dequantize<F: Float, C: Code>(
    level: Level,
    scheme: &Scheme<'_>,
    array: &Parts<'_, C>,
    out: &mut [F],
    stop: &dyn Stop,
) -> Result<(), ThreadsError> {
    let (&columns, leading) = array.lengths.split_last().expect("an array has rows");
    let rows: usize = leading.iter().product();
    assert_eq!(array.codes.len(), rows * scheme.row_codes(columns), "codes have another size");
    assert_eq!(out.len(), rows * columns, "numbers have another size");
    let geometry = if scheme.joins(columns) {
        Geometry::new(&[], rows * columns, scheme.block)
    } else {
        Geometry::new(leading, columns, scheme.block)
    };
    assert_eq!(array.scales.len(), geometry.blocks(), "scales have another size");
    let work = |part: Part<'_, F>| {
        // Held once for the many steps of a part.
        let _guard = fpenv::Guard::new();
        Work { level, scheme, array, geometry }.part(part);
    };
    let parts = parts(&geometry, |columns| columns, Some(out), None);
    let count = parts.len();
    parallel::share_until(stop, parts.into_iter(), count, work)
}

struct Work<'a, C> {
    level: Level,
    scheme: &'a Scheme<'a>,
    array: &'a Parts<'a, C>,
    geometry: Geometry,
}

impl<C: Code> Work<'_, C> {
    fn part<F: Float>(&self, part: Part<'_, F>) {
        let (level, scheme, geometry) = (self.level, self.scheme, &self.geometry);
        let zero = F::from_bits_of(F::Bits::ZERO);
        let width = geometry.block.1;
        let row_codes = scheme.row_codes(geometry.columns);
        let (mut elements, mut bytes, mut factors) = (Vec::new(), Vec::new(), Vec::new());
        for row in part.rows.clone() {
            for columns in part.spans(span(1, 1)) {
                let codes = |columns| row * row_codes + scheme.row_codes(columns);
                let codes = &self.array.codes[codes(columns.start)..codes(columns.end)];
                elements.resize(columns.len(), zero);
                self.elements(codes, &mut bytes, &mut elements);
                let blocks = columns.start / width..columns.end.div_ceil(width);
                factors.resize(blocks.len(), zero);
                let at = geometry.band(row) * geometry.across() + blocks.start;
                self.array.scales.values(level, scheme.scale, at, &mut factors);
                let place = part.place(|columns| columns, row, &columns);
                let out = &mut part.codes[place];
                let first = columns.start % width;
                let factors = &factors;
                let ahead = Ahead::Nothing;
                let products = Products { row: &elements, first, width, factors, numbers: false, ahead };
                level.run(Spread { products, product: Product::Plain, out });
                if let Some(scale) = self.array.tensor_scale {
                    level.run(Times { scale, out });
                }
            }
        }
    }

    /// The numbers that codes alone stand for.
    fn elements<F: Float>(&self, codes: &[C], bytes: &mut Vec<u8>, elements: &mut [F]) {
        let (level, format) = (self.level, self.scheme.element);
        match C::of_u8(codes) {
            Some(packed) if format.bits() < 8 => {
                bytes.resize(elements.len(), 0);
                unpack_here(level, format.bits(), packed, bytes);
                decode(level, format, bytes, elements);
            }
            Some(integers) if self.scheme.integer => level.run(Integers { format, integers, elements }),
            _ => decode(level, format, codes, elements),
        }
    }
}

/// Integers in units of the smallest number of the format.
struct Integers<'a, F> {
    format: &'a crate::format::FloatFormat,
    integers: &'a [u8],
    elements: &'a mut [F],
}

impl<F: Float> Kernel for Integers<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let unit = F::power_of_two(self.format.min_exponent() - self.format.mantissa_bits as i32);
        for (element, &integer) in self.elements.iter_mut().zip(self.integers) {
            *element = F::from_f64(f64::from(integer as i8)) * unit;
        }
    }
}
