//! Matrix products of operands in any format.
//!
//! Every element of the product means
//!
//! ```text
//! c = +0.0;  for k = 0, 1, …, K-1:  c = fma(a[k], b[k], c)
//! ```
//!
//! in float32: both operands at their exact values, one rounding to nearest even per term, ascending `k`,
//! subnormals kept, every NaN written as the canonical quiet NaN. Blocking, threads and instruction sets do not
//! show: between blocks of `k` the running value rests in the result, which is float32 too.
//!
//! That is [`matmul`](fn@matmul). [`matmul_accumulated`] adds the same terms up in other accumulators ([`Accumulator`]).

mod accumulate;
mod block;
mod driver;
mod kernel;
pub(crate) mod operand;
mod packed;
mod pairs;
mod panel;
mod peak;
mod right;
mod roofline;
mod scratch;
pub(crate) mod source;
mod stack;
mod strip;
mod tensor_core;
pub(crate) mod tile;
mod vector;

pub use accumulate::{AccumulateError, Accumulator, matmul_accumulated, matmul_accumulated_batch};
pub use driver::{matmul, matmul_batch};
pub use operand::{Codes, Operand, OperandError};
pub use packed::PackedMatrix;
pub use right::{Right, Rights};
pub use roofline::{Roofline, roofline};
pub use stack::Stack;
pub use tensor_core::{TensorCore, TensorCoreError};
