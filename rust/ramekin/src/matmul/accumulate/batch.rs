//! Batches of products.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use super::super::driver::matmul_batch;
use super::super::outer::tiles_fit;
use super::super::right::{Right, Rights};
use super::super::stack::Stack;
use super::{AccumulateError, Accumulator, PARALLEL_WORK, accumulated, check};
use crate::isa::Level;
use crate::parallel::{Helpers, Stop, share_with};

/// The products of a batch of pairs of matrices as [`matmul_accumulated`](super::matmul_accumulated) makes them, one
/// after the other in `c`.
///
/// Once `stop` is true the products end early, within milliseconds, and leave `c` unfinished.
///
/// # Errors
///
/// As [`matmul_accumulated`](super::matmul_accumulated), or if `b` is packed and the sums are other than float32's
/// without a chunk.
///
/// # Panics
///
/// As [`matmul_batch`].
pub fn matmul_accumulated_batch(
    level: Level,
    accumulator: &Accumulator,
    chunk: Option<NonZeroUsize>,
    a: &Stack<'_>,
    b: Rights<'_>,
    c: &mut [f32],
    stop: &dyn Stop,
) -> Result<(), AccumulateError> {
    if *accumulator == Accumulator::Float32 && chunk.is_none() {
        match b {
            Rights::Stack(b) => tiles_fit(a.first(), Right::Operand(b.first())),
            Rights::Packed(b) => tiles_fit(a.first(), Right::Packed(b)),
        }?;
        return Ok(matmul_batch(level, a, b, c, stop)?);
    }
    let Rights::Stack(b) = b else { return Err(AccumulateError::Packed) };
    check(accumulator, chunk, a.first(), b.first())?;
    let (count, (m, k), (depth, n)) = (a.count(), a.shape(), b.shape());
    assert_eq!(count, b.count(), "the batches differ");
    assert_eq!(k, depth, "the inner dimensions differ");
    assert_eq!(c.len(), count * m * n, "the results have another size");
    if c.is_empty() {
        return Ok(());
    }
    // The same matrix on the right: rows of a batch are rows of one product.
    if let (Some(b), Some(a)) = (b.repeated(), a.rows()) {
        return accumulated(level, accumulator, chunk, &a, &b, c, stop);
    }
    let product = |(i, c): (usize, &mut [f32])| {
        accumulated(level, accumulator, chunk, &a.matrix(i), &b.matrix(i), c, stop)
    };
    let mut products = c.chunks_exact_mut(m * n).enumerate();
    let work = m.saturating_mul(n).saturating_mul(k);
    // Products that one thread makes are shared out whole.
    if work < PARALLEL_WORK && work.saturating_mul(count) >= PARALLEL_WORK {
        let helpers = Helpers::new()?;
        let failed = Mutex::new(None);
        share_with(helpers.as_ref(), stop, products, count, |item| {
            if let Err(error) = product(item) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        });
        return failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err);
    }
    products.try_for_each(product)
}
