//! The proof of conversion.

use std::sync::OnceLock;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use ramekin::convert::Conversion;
use ramekin::isa::Level;
use ramekin::parallel::ThreadsError;
use ramekin::verify::{Boundary, INPUTS, Outcome, Samples, boundaries, is_verifiable, sweep};
use ramekin::{FloatFormat, Rounding, verify};

use crate::format::Format;
use crate::system::value_error;

/// How many inputs were tried, how many gave a wrong answer, and the first of those: the bits of the input, of
/// the answer and of the right answer.
type Found = (u64, u64, Option<(u32, u64, u64)>);

fn found(outcome: Outcome) -> Found {
    (outcome.checked, outcome.wrong, outcome.first.map(|c| (c.input, c.got, c.expected)))
}

fn level(name: &str) -> PyResult<Level> {
    Level::available().find(|level| level.name() == name).ok_or_else(|| {
        let names: Vec<_> = Level::available().map(Level::name).collect();
        PyValueError::new_err(format!("{name:?} is not a level of this CPU; accepted: {}", names.join(", ")))
    })
}

fn verifiable(format: &FloatFormat) -> PyResult<()> {
    if is_verifiable(format) {
        Ok(())
    } else {
        Err(PyValueError::new_err(format!("{format} is what is converted from; nothing is rounded to it")))
    }
}

/// The right codes of all float32 in one format, rounding direction and overflow mode.
#[pyclass(frozen, module = "ramekin._native")]
pub(crate) struct Proof {
    format: Py<Format>,
    options: Conversion,
    boundaries: Vec<Boundary>,
    samples: OnceLock<Samples>,
}

impl Proof {
    /// Runs a check of the samples, made at the first one.
    fn sampled(
        &self,
        py: Python<'_>,
        check: impl FnOnce(&Samples) -> Result<Outcome, ThreadsError> + Send,
    ) -> PyResult<Found> {
        py.detach(|| check(self.samples.get_or_init(|| Samples::new(&self.boundaries))))
            .map(found)
            .map_err(value_error)
    }
}

#[pymethods]
impl Proof {
    #[new]
    fn new(py: Python<'_>, format: Py<Format>, rounding: &str, saturate: bool) -> PyResult<Self> {
        verifiable(&format.get().format)?;
        let rounding: Rounding = rounding.parse().map_err(value_error)?;
        if rounding == Rounding::Stochastic {
            return Err(PyValueError::new_err("stochastic rounding has no one right code"));
        }
        let options = Conversion { rounding, saturate, ..Conversion::default() };
        let boundaries = py.detach(|| boundaries(&format.get().format, options)).map_err(value_error)?;
        Ok(Self { format, options, boundaries, samples: OnceLock::new() })
    }

    /// How many runs of one right code there are.
    #[getter]
    fn runs(&self) -> usize {
        self.boundaries.len()
    }

    /// Encodes every float32 whose bits are in `range(start, stop)`.
    fn sweep(&self, py: Python<'_>, isa: &str, start: u64, stop: u64) -> PyResult<Found> {
        let level = level(isa)?;
        if stop > INPUTS {
            return Err(PyValueError::new_err(format!("float32 has {INPUTS} bit patterns, not {stop}")));
        }
        py.detach(|| sweep(level, &self.format.get().format, self.options, &self.boundaries, start..stop))
            .map(found)
            .map_err(value_error)
    }

    /// Encodes what lies around each boundary, a stride over the rest, and the special values.
    fn check_encode(&self, py: Python<'_>, isa: &str) -> PyResult<Found> {
        let level = level(isa)?;
        self.sampled(py, |samples| samples.check_encode(level, &self.format.get().format, self.options))
    }

    /// Rounds the same inputs to the format's grid.
    fn check_round_to(&self, py: Python<'_>, isa: &str) -> PyResult<Found> {
        let level = level(isa)?;
        self.sampled(py, |samples| samples.check_round_to(level, &self.format.get().format, self.options))
    }
}

/// Decodes every code of a format.
#[pyfunction]
pub(crate) fn check_decode(py: Python<'_>, format: &Format, isa: &str) -> PyResult<Found> {
    verifiable(&format.format)?;
    let level = level(isa)?;
    Ok(found(py.detach(|| verify::check_decode(level, &format.format))))
}

/// The names of the rounding directions that need no random words.
#[pyfunction]
pub(crate) fn deterministic_roundings() -> Vec<&'static str> {
    Rounding::DETERMINISTIC.into_iter().map(Rounding::name).collect()
}
