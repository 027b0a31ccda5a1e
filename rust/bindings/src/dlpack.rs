//! Arrays of other libraries, lent through DLPack.
//!
//! The structures are those of `dlpack.h`, version 1 (<https://dmlc.github.io/dlpack/latest/c_api.html>), and of the
//! time before versions; capsules go by the protocol of the array API standard
//! (<https://data-apis.org/array-api/latest/design_topics/data_interchange.html>).

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;
use std::slice;

use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

#[repr(C)]
struct Device {
    kind: i32,
    id: i32,
}

#[repr(C)]
struct DataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

#[repr(C)]
struct Tensor {
    data: *mut c_void,
    device: Device,
    ndim: i32,
    dtype: DataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// Before versions.
#[repr(C)]
struct Unversioned {
    tensor: Tensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Unversioned)>,
}

#[repr(C)]
struct Versioned {
    major: u32,
    minor: u32,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Versioned)>,
    flags: u64,
    tensor: Tensor,
}

/// The version whose layout is above.
const MAJOR: u32 = 1;
const READ_ONLY: u64 = 1;
const PADDED: u64 = 4;

const NAME: &CStr = c"dltensor";
const NAME_VERSIONED: &CStr = c"dltensor_versioned";
const USED: &CStr = c"used_dltensor";
const USED_VERSIONED: &CStr = c"used_dltensor_versioned";

enum Managed {
    Unversioned(NonNull<Unversioned>),
    Versioned(NonNull<Versioned>),
}

/// A tensor taken out of its capsule; its owner is told when this is dropped.
#[pyclass(frozen, module = "ramekin._native")]
pub(crate) struct Lent(Managed);

// SAFETY: the protocol lets the deleter be called from any thread; nothing else is changed.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: ours since the capsule was marked as used, and deleted once.
        unsafe {
            match self.0 {
                Managed::Unversioned(managed) => {
                    if let Some(deleter) = managed.as_ref().deleter {
                        deleter(managed.as_ptr());
                    }
                }
                Managed::Versioned(managed) => {
                    if let Some(deleter) = managed.as_ref().deleter {
                        deleter(managed.as_ptr());
                    }
                }
            }
        }
    }
}

impl Lent {
    fn tensor(&self) -> &Tensor {
        // SAFETY: alive until the deleter is called.
        unsafe {
            match &self.0 {
                Managed::Unversioned(managed) => &managed.as_ref().tensor,
                Managed::Versioned(managed) => &managed.as_ref().tensor,
            }
        }
    }

    fn flags(&self) -> Option<u64> {
        match &self.0 {
            Managed::Unversioned(_) => None,
            // SAFETY: as above.
            Managed::Versioned(managed) => Some(unsafe { managed.as_ref().flags }),
        }
    }

    fn numbers(&self, at: *const i64) -> Option<Vec<i64>> {
        let ndim = usize::try_from(self.tensor().ndim).unwrap_or(0);
        if ndim == 0 {
            return Some(Vec::new());
        }
        // SAFETY: as many numbers as axes, if there are any.
        (!at.is_null()).then(|| unsafe { slice::from_raw_parts(at, ndim) }.to_vec())
    }
}

#[pymethods]
impl Lent {
    /// Takes the tensor out of a capsule, which is used up.
    #[new]
    fn new(capsule: &Bound<'_, PyAny>) -> PyResult<Self> {
        let Ok(capsule) = capsule.cast::<PyCapsule>() else {
            return Err(PyTypeError::new_err("__dlpack__ gave no capsule"));
        };
        let take = |name: &'static CStr, used: &'static CStr| {
            // SAFETY: a capsule; its pointer is asked for under its own name, and the new name lives for ever.
            unsafe {
                if ffi::PyCapsule_IsValid(capsule.as_ptr(), name.as_ptr()) == 0 {
                    return None;
                }
                let found = NonNull::new(ffi::PyCapsule_GetPointer(capsule.as_ptr(), name.as_ptr()));
                (ffi::PyCapsule_SetName(capsule.as_ptr(), used.as_ptr()) == 0).then_some(found).flatten()
            }
        };
        if let Some(managed) = take(NAME_VERSIONED, USED_VERSIONED) {
            let lent = Self(Managed::Versioned(managed.cast()));
            // SAFETY: every version begins with its number, the context and the deleter.
            let (major, minor) = unsafe {
                let managed = managed.cast::<Versioned>();
                (managed.as_ref().major, managed.as_ref().minor)
            };
            if major != MAJOR {
                return Err(PyBufferError::new_err(format!(
                    "DLPack {major}.{minor} is not understood; accepted: {MAJOR}.x and older"
                )));
            }
            return Ok(lent);
        }
        if let Some(managed) = take(NAME, USED) {
            return Ok(Self(Managed::Unversioned(managed.cast())));
        }
        Err(PyBufferError::new_err("the capsule holds no DLPack tensor, or was used before"))
    }

    /// Code, bits and lanes of the type.
    #[getter]
    fn dtype(&self) -> (u8, u8, u16) {
        let DataType { code, bits, lanes } = self.tensor().dtype;
        (code, bits, lanes)
    }

    /// Kind and number of the device.
    #[getter]
    fn device(&self) -> (i32, i32) {
        let Device { kind, id } = self.tensor().device;
        (kind, id)
    }

    /// Where the first element is.
    #[getter]
    fn address(&self) -> usize {
        self.tensor().data as usize + self.tensor().byte_offset as usize
    }

    /// Lengths of the axes.
    #[getter]
    fn shape(&self) -> Vec<i64> {
        self.numbers(self.tensor().shape).unwrap_or_default()
    }

    /// Elements from one to the next along each axis; None if the tensor is contiguous.
    #[getter]
    fn strides(&self) -> Option<Vec<i64>> {
        self.numbers(self.tensor().strides)
    }

    /// Whether it may only be read. Before versions nothing said so, so nothing may be written.
    #[getter]
    fn read_only(&self) -> bool {
        self.flags().is_none_or(|flags| flags & READ_ONLY != 0)
    }

    /// Whether elements of fewer than 8 bits have a byte each. None if nothing says so.
    #[getter]
    fn padded(&self) -> Option<bool> {
        self.flags().map(|flags| flags & PADDED != 0)
    }
}
