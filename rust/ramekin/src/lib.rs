//! Low-precision floating point, bit-exact and vectorised.
//!
//! A float format is data ([`FloatFormat`]); conversion is one branch-free definition driven by that data
//! ([`convert`]); matrix products have one written-down meaning ([`matmul`]). Every instruction-set level
//! ([`isa`]) runs the same source, so all levels give the same bits; [`mod@reference`] says the same in exact
//! integer arithmetic and judges them in the tests.

pub mod block;
pub mod convert;
pub mod dot;
mod float;
pub mod format;
pub mod fpenv;
pub mod isa;
pub mod math;
pub mod matmul;
mod once;
pub mod parallel;
pub mod random;
pub mod reference;
pub mod rounding;
mod simd;
mod stream;
pub mod verify;

pub use format::FloatFormat;
pub use rounding::Rounding;
