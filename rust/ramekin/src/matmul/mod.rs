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
//! That holds for elements that are dequantised too, and for sums that are scaled at their ends: see [`Scales`].
//!
//! That is [`matmul`](fn@matmul). [`matmul_accumulated`] adds the same terms up in other accumulators ([`Accumulator`]).

mod accumulate;
mod bits;
mod block;
pub(crate) mod by_half;
mod driver;
mod kernel;
pub(crate) mod operand;
mod outer;
mod packed;
mod pairs;
mod panel;
mod peak;
mod right;
mod roofline;
mod scales;
mod scratch;
pub(crate) mod source;
mod stack;
mod strip;
mod tensor_core;
mod tile;
mod vector;

pub use accumulate::{AccumulateError, Accumulator, matmul_accumulated, matmul_accumulated_batch};
pub use driver::{matmul, matmul_batch};
pub use operand::{Codes, Operand, OperandError};
pub use outer::{TilesError, tiles_fit};
pub use packed::{PackMatrixError, PackedMatrix};
pub use right::{Right, Rights};
pub use roofline::{Roofline, roofline};
pub use scales::Scales;
pub use stack::Stack;
pub use tensor_core::{TensorCore, TensorCoreError};
