//! Products of elements with the number that their block shares.

use crate::float::{Bits, Float};
use crate::isa::Kernel;
use crate::simd::Simd;

/// How products are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    /// As they come.
    Plain,
    /// For rounding: a factor of zero gives zeros, whatever it multiplies, and what is nonzero stays so under any
    /// other. The formats that are rounded to have no numbers as small as those that this makes larger.
    Sticky,
}

/// Multiplies a part of a row that starts `first` columns into its first block by `factors`, one for each block of
/// `width` columns.
pub(super) struct Spread<'a, F> {
    pub row: &'a [F],
    pub first: usize,
    pub width: usize,
    pub factors: &'a [F],
    pub product: Product,
    pub out: &'a mut [F],
}

impl<F: Float> Kernel for Spread<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match self.product {
            Product::Plain => each_block::<F, false>(self),
            Product::Sticky => each_block::<F, true>(self),
        }
    }
}

#[inline(always)]
fn each_block<F: Float, const STICKY: bool>(spread: Spread<'_, F>) {
    let Spread { row, first, width, factors, out, .. } = spread;
    match (width, first) {
        // The common widths, so that the compiler knows them.
        (32, 0) => by_blocks::<F, 32, STICKY>(row, factors, out),
        (16, 0) => by_blocks::<F, 16, STICKY>(row, factors, out),
        _ => {
            let (mut row, mut out, mut here) = (row, out, width - first);
            for &factor in factors {
                let here_now = here.min(row.len());
                let (block, row_after) = row.split_at(here_now);
                let (products, out_after) = out.split_at_mut(here_now);
                multiply::<F, STICKY>(block, factor, products);
                (row, out, here) = (row_after, out_after, width);
            }
        }
    }
}

#[inline(always)]
fn by_blocks<F: Float, const WIDTH: usize, const STICKY: bool>(row: &[F], factors: &[F], out: &mut [F]) {
    let (blocks, rest) = row.as_chunks::<WIDTH>();
    let (products, rest_out) = out.as_chunks_mut::<WIDTH>();
    for ((block, products), &factor) in blocks.iter().zip(products).zip(factors) {
        multiply::<F, STICKY>(block, factor, products);
    }
    if let Some(&factor) = factors.get(blocks.len()) {
        multiply::<F, STICKY>(rest, factor, rest_out);
    }
}

#[inline(always)]
fn multiply<F: Float, const STICKY: bool>(block: &[F], factor: F, products: &mut [F]) {
    let zero = F::Bits::ZERO;
    let kept = if factor.bits() == zero { zero } else { F::Bits::ONES };
    for (product, &x) in products.iter_mut().zip(block) {
        *product = x * factor;
        if STICKY {
            let bits = product.bits();
            let sign = bits & !(F::Bits::ONES >> 1);
            let least = if x.bits() << 1 == zero { zero } else { F::Bits::ONE << F::MANTISSA_BITS };
            let magnitude = (bits & (F::Bits::ONES >> 1)).max(least);
            *product = F::from_bits_of((magnitude | sign) & kept);
        }
    }
}
