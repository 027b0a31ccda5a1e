//! What products are added up in.

use std::num::NonZeroUsize;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};
use ramekin::matmul::{self, Accumulator};

/// A model of how a GPU's tensor cores add up, to be an accumulator of ``matmul`` and ``dot``.
///
/// A *step* takes up to `terms` products ``a[k] b[k]`` of an element of ``a b``, in ascending ``k``, and the running
/// value ``c``, which starts at +0:
///
/// 1. A number's *exponent* is that of its leading bit, a subnormal number's the one of its format's smallest
///    normal number. A product's is the sum of its operands': its significand, between 1 and 4, is not normalised.
///    Zeros have none.
/// 2. Let ``E`` be the largest exponent among the nonzero products and ``c``, or -133 if that is larger. Every
///    product and ``c`` are truncated, toward zero, to multiples of ``2**(E - fraction_bits)``.
/// 3. What is left is added up exactly, and the sum truncated, toward zero, to a float32 with `mantissa_bits` bits
///    below the leading one (subnormals have the unit of the smallest normal number). Magnitudes that are then
///    ``2**128`` or more become infinity. That is the next ``c``; a sum that is exactly zero is +0.
///
/// Infinities and NaN are added as IEEE 754 does, and every NaN is the canonical one.
///
/// Operands may have any format of up to 16 bits. (float32 is refused: the hardware would read it as tfloat32.)
/// Hopper's FP8 with promotion, as in DeepSeek-V3, is ``matmul(a, b, accumulate="h100-fp8", chunk=128)``.
///
/// Parameters
/// ----------
/// preset : str, optional
///     A model that has a name; the name alone does for `accumulate` too:
///
///     =============  =======  ===============  ===============  ================================
///     name           `terms`  `fraction_bits`  `mantissa_bits`  formats that the hardware takes
///     =============  =======  ===============  ===============  ================================
///     "v100-fp16"    4        23               23               float16
///     "a100-fp16"    8        24               23               float16, bfloat16
///     "h100-fp16"    16       25               23               float16, bfloat16
///     "h100-fp8"     32       13               13               float8_e4m3fn, float8_e5m2
///     =============  =======  ===============  ===============  ================================
/// terms : int
///     Products in a step, 1 to 256. This and the next two are given if no preset is.
/// fraction_bits : int
///     Bits kept below the largest exponent, 1 to 40.
/// mantissa_bits : int
///     Bits that the result of a step keeps below its leading one, 1 to 23.
///
/// Raises
/// ------
/// TypeError
///     If the preset is no string, a number no int, or neither a preset nor all three numbers are given.
/// ValueError
///     If no preset has that name or a number is out of range.
///
/// Attributes
/// ----------
/// terms, fraction_bits, mantissa_bits : int
///     The numbers, by which models are equal or not.
/// presets : tuple of str
///     The names.
///
/// Notes
/// -----
/// Sources: Xie et al., "MMA-Sim: bit-accurate reference model of tensor cores and matrix cores", 2025,
/// arXiv:2511.10909, for the algorithm and the presets; Khattak and Mikaitis, "Accurate models of NVIDIA tensor
/// cores", 2025, arXiv:2512.07004, whose models agree, for overflow and the lowest exponent (-133, which only
/// products below float32's normal numbers, hence bfloat16 operands, can tell from MMA-Sim's -126); Fasi, Higham,
/// Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores", 2021, for truncation and subnormals;
/// DeepSeek-V3 technical report, 2024, section 3.3.2, for promotion. The hardware's one NaN, 0x7fffffff, is not
/// modelled, nor is an accumulator of float16.
#[pyclass(frozen, eq, hash, module = "ramekin")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct TensorCore(matmul::TensorCore);

#[pymethods]
impl TensorCore {
    #[new]
    #[pyo3(signature = (preset=None, *, terms=None, fraction_bits=None, mantissa_bits=None))]
    fn new(
        preset: Option<&Bound<'_, PyAny>>,
        terms: Option<&Bound<'_, PyAny>>,
        fraction_bits: Option<&Bound<'_, PyAny>>,
        mantissa_bits: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let model = match (preset, terms, fraction_bits, mantissa_bits) {
            (Some(preset), None, None, None) => {
                let accepted = listed(matmul::TensorCore::PRESETS.map(|preset| preset.0));
                let Ok(name) = preset.extract::<&str>() else {
                    let kind = preset.get_type().name()?;
                    return Err(PyTypeError::new_err(format!(
                        "TensorCore: preset is a {kind}; accepted: {accepted}"
                    )));
                };
                matmul::TensorCore::named(name).ok_or_else(|| {
                    PyValueError::new_err(format!(
                        "TensorCore: unknown preset {name:?}; accepted: {accepted}"
                    ))
                })?
            }
            (None, Some(terms), Some(fraction_bits), Some(mantissa_bits)) => matmul::TensorCore::new(
                number("terms", terms)? as usize,
                number("fraction_bits", fraction_bits)?,
                number("mantissa_bits", mantissa_bits)?,
            )
            .map_err(|error| PyValueError::new_err(format!("TensorCore: {error}")))?,
            _ => {
                return Err(PyTypeError::new_err(
                    "TensorCore: accepted: a preset, or all of terms, fraction_bits and mantissa_bits",
                ));
            }
        };
        Ok(Self(model))
    }

    #[classattr]
    fn presets(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        PyTuple::new(py, matmul::TensorCore::PRESETS.map(|preset| preset.0))
    }

    #[getter]
    fn terms(&self) -> usize {
        self.0.terms()
    }

    #[getter]
    fn fraction_bits(&self) -> u32 {
        self.0.fraction_bits()
    }

    #[getter]
    fn mantissa_bits(&self) -> u32 {
        self.0.mantissa_bits()
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let numbers = PyDict::new(py);
        numbers.set_item("terms", self.terms())?;
        numbers.set_item("fraction_bits", self.fraction_bits())?;
        numbers.set_item("mantissa_bits", self.mantissa_bits())?;
        Ok((PyTuple::empty(py), numbers))
    }

    fn __repr__(&self) -> String {
        format!(
            "TensorCore(terms={}, fraction_bits={}, mantissa_bits={})",
            self.terms(),
            self.fraction_bits(),
            self.mantissa_bits()
        )
    }
}

/// One of a model's numbers; 0, which none is, for integers that have too many bits or a sign.
fn number(what: &str, value: &Bound<'_, PyAny>) -> PyResult<u32> {
    let py = value.py();
    let index = py.import("operator")?.getattr("index")?;
    let integer = if value.is_instance_of::<PyBool>() { None } else { index.call1((value,)).ok() };
    match integer {
        Some(integer) => Ok(integer.extract().unwrap_or(0)),
        None => {
            let kind = value.get_type().name()?;
            Err(PyTypeError::new_err(format!("TensorCore: {what} is a {kind}; accepted: an int")))
        }
    }
}

/// Names as messages list them.
fn listed(names: impl IntoIterator<Item = &'static str>) -> String {
    names.into_iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// How the terms of a product are added up, other than in float32's chain or lanes.
pub(crate) struct Sum {
    pub(crate) accumulator: Accumulator,
    pub(crate) chunk: Option<NonZeroUsize>,
    /// The function that messages name.
    pub(crate) function: &'static str,
}

impl Sum {
    pub(crate) fn new(
        accumulate: &Bound<'_, PyAny>,
        chunk: Option<NonZeroUsize>,
        function: &'static str,
    ) -> PyResult<Self> {
        let accepted = || {
            let names = Accumulator::NAMED.map(|named| named.0);
            let presets = matmul::TensorCore::PRESETS.map(|preset| preset.0);
            format!("accepted: {}, a TensorCore", listed(names.into_iter().chain(presets)))
        };
        let accumulator = if let Ok(model) = accumulate.cast::<TensorCore>() {
            Accumulator::TensorCore(model.get().0)
        } else if let Ok(name) = accumulate.extract::<&str>() {
            Accumulator::named(name).ok_or_else(|| {
                PyValueError::new_err(format!("{function}: unknown accumulator {name:?}; {}", accepted()))
            })?
        } else {
            let kind = accumulate.get_type().name()?;
            return Err(PyTypeError::new_err(format!("{function}: accumulate is a {kind}; {}", accepted())));
        };
        Ok(Self { accumulator, chunk, function })
    }
}
