//! The float32 functions that training runs on, each with one definition.
//!
//! NumPy's exponentials and sums change with the CPU's instruction set. These do not: every value, but for those of
//! float32's own operations, is worked out in float64 by additions, multiplications, divisions and square roots, which
//! IEEE 754 fixes to the bit, in one written order and never fused, and is rounded to float32 once. So a function of one
//! number is within 0.5001 units in the last place of the true value (nearly always it is the nearest float32), and what
//! is made of several is off by that and by float64's errors of terms that cancel. All are the same on every level, for
//! any number of threads. Every NaN that comes out is the canonical quiet one.
//!
//! - [`apply`] and [`apply_gradient`]: functions of one number, element by element;
//! - [`sum`], [`sum_of_squares`], [`max`] of rows, [`sum_columns`], [`total_of_squares`] and [`sum_rows_by_label`]:
//!   float64 sums in a fixed order;
//! - [`softmax`], [`log_softmax`], [`cross_entropy`] of rows, [`squared_error`] of all elements;
//! - [`normalize`] and [`normalize_gradient`]: LayerNorm and RMSNorm of rows;
//! - [`scale`], [`all_finite`], [`add`], [`add_row`], [`dropout`]: float32's own operations, of whole arrays;
//! - [`largest_magnitude`] and [`count_nonzero`]: what an array holds;
//! - [`sgd_step`] and [`adamw_step`]: optimisers, whose operations are float32's own, and [`sgd_step_short`] and
//!   [`adamw_step_short`], which keep their states in bfloat16.

mod activation;
mod adamw;
mod blend;
mod by_label;
mod census;
mod elementary;
mod erf;
mod lanes;
mod map;
mod norm;
mod reduce;
mod rows;
mod sgd;
mod short_states;
mod softmax;
mod squared_error;
mod steps;
#[cfg(test)]
mod tests;

pub use adamw::{AdamW, AdamWState, adamw_step};
pub use blend::{Dropout, add, add_row, all_finite, dropout, scale};
pub use by_label::sum_rows_by_label;
pub use census::{count_nonzero, largest_magnitude};
pub use map::{Function, Gradient, apply, apply_gradient};
pub use norm::{Norm, NormGradients, normalize, normalize_gradient};
pub use reduce::{max, sum, sum_columns, sum_of_squares, total_of_squares};
pub use sgd::{Sgd, sgd_step};
pub use short_states::{ShortState, adamw_step_short, sgd_step_short};
pub use softmax::{Labels, cross_entropy, log_softmax, softmax, softmax_gradient};
pub use squared_error::squared_error;
