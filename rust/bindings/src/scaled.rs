//! Codes with scales as operands of products.

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use ramekin::format::FLOAT32;
use ramekin::matmul::{Codes, Scales, Stack};

use crate::format::Format;
use crate::operand::{Dimension, Side, View, matrix, over};
use crate::shape::tuple;
use crate::system::value_error;

/// Codes, perhaps packed, and scales of a tensor, axes in its own order.
#[pyclass(frozen, module = "ramekin._native")]
pub(crate) struct Scaled {
    codes: Py<PyUntypedArray>,
    scales: Option<Py<PyUntypedArray>>,
    element: Py<Format>,
    /// None for float32.
    scale: Option<Py<Format>>,
    /// Elements that share a scale, along each axis.
    blocks: Vec<usize>,
    /// The axis along which codes are packed.
    packed: Option<usize>,
    shape: Vec<usize>,
    integers: bool,
    tensor_scale: Option<f32>,
}

#[pymethods]
impl Scaled {
    /// `codes`: of unsigned integers as wide as the element's codes (bytes where they are packed) or of float32.
    /// `scales`: of unsigned integers or float32, of one axis for each of the tensor's. `blocks`: how many elements
    /// share a scale, along each axis. `packed`: the axis along which codes of less than 8 bits are packed, one of
    /// the last two, and `length` how many they are there.
    #[new]
    #[pyo3(signature = (codes, scales, element, scale, blocks, packed, length, integers, tensor_scale))]
    #[expect(clippy::too_many_arguments, reason = "the parts of a quantised array")]
    fn new(
        codes: &Bound<'_, PyUntypedArray>,
        scales: Option<&Bound<'_, PyUntypedArray>>,
        element: Py<Format>,
        scale: Option<Py<Format>>,
        blocks: Vec<usize>,
        packed: Option<usize>,
        length: usize,
        integers: bool,
        tensor_scale: Option<f32>,
    ) -> PyResult<Self> {
        let mut shape = codes.shape().to_vec();
        let bits = element.get().format.bits() as usize;
        for (array, name) in [(Some(codes), "codes"), (scales, "scales")] {
            let whole = array
                .is_none_or(|array| View::new(array).is_some_and(|view| matches!(view.size(), 1 | 2 | 4)));
            if !whole {
                return Err(PyTypeError::new_err(format!(
                    "{name} must be an aligned array of unsigned integers of up to 16 bits, or of float32"
                )));
            }
        }
        if let Some(axis) = packed {
            let bytes = shape.get(axis).copied();
            if bits >= 8 || codes.dtype().itemsize() != 1 || bytes != Some((length * bits).div_ceil(8)) {
                let shape = tuple(&shape);
                return Err(PyValueError::new_err(format!(
                    "{length} codes of {bits} bits along axis {axis} do not fill bytes of shape {shape}"
                )));
            }
            if axis + 2 < shape.len() {
                return Err(PyValueError::new_err(
                    "codes are packed along an axis of the batch; accepted: one of the last two",
                ));
            }
            // Without elements the strides may be anything.
            if codes.strides()[axis] != 1 && shape[axis] > 1 && !shape.contains(&0) {
                return Err(PyValueError::new_err("packed codes have gaps between their bytes"));
            }
            shape[axis] = length;
        }
        if let Some(scales) = scales {
            if blocks.contains(&0) {
                return Err(PyValueError::new_err("a block has no elements"));
            }
            // An axis without elements may have a scale or none.
            let fits = |((&length, &block), &scales): ((&usize, &usize), &usize)| {
                scales == length.div_ceil(block) || (length == 0 && scales == 1)
            };
            let alike = blocks.len() == shape.len() && scales.shape().len() == shape.len();
            if !alike || !shape.iter().zip(&blocks).zip(scales.shape()).all(fits) {
                let (shape, scales, blocks) = (tuple(&shape), tuple(scales.shape()), tuple(&blocks));
                return Err(PyValueError::new_err(format!(
                    "scales of shape {scales} are not those of blocks of {blocks} in {shape}"
                )));
            }
            let batch = shape.len().saturating_sub(2);
            if shape.iter().zip(&blocks).take(batch).any(|(&length, &block)| block > 1 && block < length) {
                return Err(PyValueError::new_err(
                    "blocks lie along an axis of the batch; accepted: the last two axes",
                ));
            }
        }
        let (codes, scales) = (codes.clone().unbind(), scales.map(|scales| scales.clone().unbind()));
        Ok(Self { codes, scales, element, scale, blocks, packed, shape, integers, tensor_scale })
    }
}

impl Scaled {
    pub(crate) fn format(&self) -> &Py<Format> {
        &self.element
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The arrays of codes and of scales.
    pub(crate) fn views<'py>(&self, py: Python<'py>) -> [Option<View<'_, 'py>>; 2] {
        [View::new(self.codes.bind(py)), self.scales.as_ref().and_then(|scales| View::new(scales.bind(py)))]
    }

    /// The matrices, broadcast over `batch`; a vector is a matrix of one row or column.
    ///
    /// # Safety
    ///
    /// Nobody may write the arrays while they are read.
    pub(crate) unsafe fn stack<'a>(
        &'a self,
        py: Python<'a>,
        batch: &[usize],
        side: Side,
    ) -> PyResult<Stack<'a>> {
        let gone = || PyTypeError::new_err("an array was reshaped meanwhile");
        let [codes, scales] = self.views(py);
        let view = codes.ok_or_else(gone)?;
        let element = &self.element.get().format;
        // SAFETY: the caller vouches.
        let (mut codes, mut offset) = unsafe { view.codes() };
        let bits = element.bits() as isize;
        if let (Codes::U8(bytes), Some(_)) = (codes, self.packed) {
            (codes, offset) = (Codes::Packed(bytes), 8 * offset);
        }
        let dimensions: Vec<Dimension> = view
            .dimensions()
            .zip(&self.shape)
            .enumerate()
            .map(|(axis, ((_, stride), &length))| {
                let stride = match self.packed {
                    Some(packed) if packed == axis => bits,
                    Some(_) => 8 * stride,
                    None => stride,
                };
                (length, if length < 2 { 0 } else { stride })
            })
            .collect();
        let mut dimensions = dimensions.into_iter();
        let (rows, columns) = matrix(&mut dimensions, side);
        let layout = ((rows.0, columns.0), (rows.1, columns.1));
        let batch_strides = over(batch, dimensions);
        let mut stack = Stack::new(codes, element, batch_strides, layout, offset).map_err(value_error)?;
        if self.integers {
            stack = stack.of_integers().map_err(value_error)?;
        }
        if self.scales.is_some() {
            let view = scales.ok_or_else(gone)?;
            let format = self.scale.as_ref().map_or(&FLOAT32, |scale| &scale.get().format);
            // SAFETY: as above.
            let (codes, offset) = unsafe { view.codes() };
            let mut dimensions = view.dimensions();
            let (rows, columns) = matrix(&mut dimensions, side);
            let mut blocks = self.blocks.iter().map(|&block| (block, 0));
            let (down, across) = matrix(&mut blocks, side);
            let scales = Scales::new(codes, format, (down.0, across.0), (rows.1, columns.1), offset);
            let strides = over(batch, dimensions).into_iter().map(|(_, stride)| stride).collect();
            stack = stack.scaled(scales.map_err(value_error)?, strides).map_err(value_error)?;
        }
        Ok(self.tensor_scale.map_or(stack.clone(), |scale| stack.with_tensor_scale(scale)))
    }
}
