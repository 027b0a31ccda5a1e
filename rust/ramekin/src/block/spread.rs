//! Products of elements with the number that their block shares.

use crate::convert::Products;
use crate::float::{Bits, Float};
use crate::isa::Kernel;
use crate::simd::Simd;

/// How products are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    /// As they come.
    Plain,
    /// A factor of zero gives zeros, whatever it multiplies.
    Cleared,
    /// The same, and what is nonzero stays so under any other factor, as directed rounding asks: the formats that are
    /// rounded to have no numbers as small as those that this makes larger.
    Sticky,
}

/// Multiplies a part of a row by its blocks' factors.
pub(super) struct Spread<'a, F> {
    pub products: Products<'a, F>,
    pub product: Product,
    pub out: &'a mut [F],
}

impl<F: Float> Kernel for Spread<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Products { row, first, width, factors, .. } = self.products;
        match (width, first) {
            // The common widths, so that the compiler knows them.
            (32, 0) => by_blocks::<F, 32>(row, factors, self.product, self.out),
            (16, 0) => by_blocks::<F, 16>(row, factors, self.product, self.out),
            _ => {
                let (mut row, mut out, mut here) = (row, self.out, width - first);
                for &factor in factors {
                    let (block, row_after) = row.split_at(here.min(row.len()));
                    let (products, out_after) = out.split_at_mut(here.min(row.len()));
                    multiply(block, factor, self.product, products);
                    (row, out, here) = (row_after, out_after, width);
                }
            }
        }
    }
}

#[inline(always)]
fn by_blocks<F: Float, const WIDTH: usize>(row: &[F], factors: &[F], product: Product, out: &mut [F]) {
    let (blocks, rest) = row.as_chunks::<WIDTH>();
    let (products, rest_products) = out.as_chunks_mut::<WIDTH>();
    for ((block, products), &factor) in blocks.iter().zip(products).zip(factors) {
        multiply(block, factor, product, products);
    }
    if let Some(&factor) = factors.get(blocks.len()) {
        multiply(rest, factor, product, rest_products);
    }
}

#[inline(always)]
fn multiply<F: Float>(block: &[F], factor: F, product: Product, products: &mut [F]) {
    let zero = F::Bits::ZERO;
    if product != Product::Plain && factor.bits() == zero {
        products.fill(F::from_bits_of(zero));
        return;
    }
    for (product, &x) in products.iter_mut().zip(block) {
        *product = x * factor;
    }
    if product == Product::Sticky {
        for (product, &x) in products.iter_mut().zip(block) {
            let bits = product.bits();
            let least = (bits & !(F::Bits::ONES >> 1)) | (F::Bits::ONE << F::MANTISSA_BITS);
            let small = bits << 1 < F::Bits::ONE << (F::MANTISSA_BITS + 1);
            let lost = small & (x.bits() << 1 != zero);
            *product = if lost { F::from_bits_of(least) } else { *product };
        }
    }
}

/// Multiplies all by one number, rounded to `F` first.
pub(super) struct Times<'a, F> {
    pub scale: f64,
    pub out: &'a mut [F],
}

impl<F: Float> Kernel for Times<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let scale = F::from_f64(self.scale);
        for x in self.out {
            *x = *x * scale;
        }
    }
}
