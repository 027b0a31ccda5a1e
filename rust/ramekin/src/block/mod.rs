//! Scaled formats: an element is a code of a small format times a scale that some elements share.
//!
//! Elements share a scale in blocks of rows and columns: the 32 along a row of OCP's microscaling formats (MX), the
//! 16 of NVFP4, tiles, whole rows, or all there are. [`quantize`](fn@quantize) finds the scales and rounds the
//! elements, [`dequantize`](fn@dequantize) gives back the numbers that they stand for.

mod amax;
mod array;
mod dequantize;
mod exponent;
mod floats;
mod fused;
mod geometry;
mod lines;
mod parts;
mod quantize;
mod round;
mod rule;
mod scale;
mod scheme;
mod spread;
mod stats;

pub use array::{Array, ArrayError, Elements};
pub use dequantize::{Parts, dequantize};
pub use quantize::{Quantize, Quantized, quantize};
pub use scale::{ScaleRounding, Scales, ScalesMut};
pub use scheme::{Scale, Scheme, SchemeError};
pub use stats::Sums;
