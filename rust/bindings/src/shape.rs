//! The shape of a product, by the rules of `numpy.matmul`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The shape of a product.
pub(crate) struct Shape {
    /// The batch dimensions, then those of the operands that are no vectors.
    pub(crate) result: Vec<usize>,
    /// How many of them are the batch's.
    pub(crate) batch: usize,
    /// Multiply-adds, or elements of the result if there are none.
    pub(crate) work: usize,
}

impl Shape {
    /// Of matrices, vectors, or batches of matrices, which are broadcast.
    pub(crate) fn new(a: &[usize], b: &[usize]) -> PyResult<Self> {
        for (shape, name) in [(a, "a"), (b, "b")] {
            if shape.is_empty() {
                return Err(PyValueError::new_err(format!(
                    "matmul: {name} has no dimensions; accepted: a vector, a matrix, or a batch of matrices"
                )));
            }
        }
        let wrong = |what: &str| {
            let (a, b) = (tuple(a), tuple(b));
            PyValueError::new_err(format!("matmul: {what}: a has shape {a}, b has shape {b}"))
        };
        let (batch_a, rows, k) = match *a {
            [k] => (&[][..], None, k),
            _ => (&a[..a.len() - 2], Some(a[a.len() - 2]), a[a.len() - 1]),
        };
        let (batch_b, depth, columns) = match *b {
            [k] => (&[][..], k, None),
            _ => (&b[..b.len() - 2], b[b.len() - 2], Some(b[b.len() - 1])),
        };
        if k != depth {
            return Err(wrong("inner dimensions differ"));
        }
        let batch = batch_a.len().max(batch_b.len());
        let mut result = Vec::with_capacity(batch + 2);
        for i in 0..batch {
            // Missing dimensions come first.
            let length = |of: &[usize]| (i + of.len()).checked_sub(batch).map_or(1, |i| of[i]);
            result.push(match (length(batch_a), length(batch_b)) {
                (a, b) if a == b => a,
                (1, length) | (length, 1) => length,
                _ => return Err(wrong("batch dimensions do not broadcast")),
            });
        }
        result.extend(rows);
        result.extend(columns);
        let work = result.iter().fold(k.max(1), |work, &length| work.saturating_mul(length));
        Ok(Self { result, batch, work })
    }
}

/// A shape as Python writes it.
pub(crate) fn tuple(shape: &[usize]) -> String {
    match shape {
        [length] => format!("({length},)"),
        _ => format!("({})", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}
