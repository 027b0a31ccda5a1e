//! Conversion between floats and the codes of a format.
//!
//! [`encode`](fn@encode) rounds `f32` or `f64` to codes, [`decode`](fn@decode) gives codes their exact values,
//! [`round_to`] does both in registers. All three are loops over one scalar definition each, compiled per
//! instruction-set level.

mod bytes;
mod decode;
mod encode;
mod half;
pub mod pack;
mod plan;
mod products;
mod round;
mod source;
mod table;
mod through;

pub use decode::decode;
pub(crate) use decode::{DecodePlan, decode_slice};
pub use encode::encode;
pub(crate) use encode::encode_one;
pub(crate) use plan::{EncodePlan, fits, shape};
pub(crate) use products::{Products, ShortWay, all_positive, encode_pairs, encode_products, plan_of};
pub(crate) use round::Grid;
pub use round::round_to;
pub use source::{Exact, encode_codes, encode_integers};
pub(crate) use table::named_byte_table;
pub use through::{ToFloat32, compared, decode_through_float32, encode_through_float32};

pub use crate::float::{Code, Float};
use crate::random::Words;

/// How a value that is not in the format becomes one that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conversion {
    /// The direction of rounding.
    pub rounding: crate::Rounding,
    /// Whether overflow and infinity give the largest finite number (OCP's saturating conversion) instead of
    /// infinity or NaN.
    pub saturate: bool,
    /// The words of stochastic rounding: element `i` of the slice takes the word at this place plus `i`.
    pub words: Words,
}

impl Conversion {
    /// The same conversion for a slice that starts `elements` further on.
    #[must_use]
    pub fn after(self, elements: usize) -> Self {
        Self { words: self.words.after(elements), ..self }
    }
}

/// Elements that pass through a buffer at a time where a conversion has two steps.
const CHUNK: usize = 1024;
