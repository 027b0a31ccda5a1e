//! The Python extension module `ramekin._native`: checks arrays, releases the interpreter, calls the core, maps
//! errors. No numerics here.

use pyo3::prelude::*;

mod accelerate;
mod accumulate;
mod array;
mod block;
mod casts;
mod convert;
mod dlpack;
mod dot;
mod format;
mod interrupt;
mod math;
mod matmul;
mod operand;
mod packed;
mod roofline;
mod scaled;
mod shape;
mod small;
mod steps;
mod system;
mod verify;

/// The compiled core of ramekin. Private: use the package's public names.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use super::accelerate::{cast_owner, cast_was_called, give_back_cast, keep_answers, take_cast};
    #[pymodule_export]
    use super::accumulate::TensorCore;
    #[pymodule_export]
    use super::block::{dequantize, quantize};
    #[pymodule_export]
    use super::convert::{decode, encode, pack, packed_len, round_to, unpack};
    #[pymodule_export]
    use super::dlpack::Lent;
    #[pymodule_export]
    use super::dot::{dot, dot_accumulated};
    #[pymodule_export]
    use super::format::{Format, named_formats, p3109};
    #[pymodule_export]
    use super::math::{
        add, add_row, all_finite, apply, apply_gradient, count_nonzero, cross_entropy, dropout,
        largest_magnitude, normalize, normalize_gradient, reduce_rows, scale, softmax, softmax_gradient,
        squared_error, sum_columns, sum_rows_by_label, total_of_squares,
    };
    #[pymodule_export]
    use super::matmul::{matmul, matmul_accumulated};
    #[pymodule_export]
    use super::packed::{Packed, pack_matrix};
    #[pymodule_export]
    use super::roofline::roofline;
    #[pymodule_export]
    use super::scaled::Scaled;
    #[pymodule_export]
    use super::small::{cast_small, register_dtypes};
    #[pymodule_export]
    use super::steps::{adamw_step, adamw_step_short, sgd_step, sgd_step_short};
    #[pymodule_export]
    use super::system::{get_num_threads, isa, isa_levels, set_num_threads};
    #[pymodule_export]
    use super::verify::{Proof, check_decode, deterministic_roundings};

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
