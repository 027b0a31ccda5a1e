//! NumPy's cast functions for `ml_dtypes`' dtypes, replaced by ours.
//!
//! A legacy dtype keeps its cast functions in a table of pointers that NumPy's C API makes public
//! (`PyDataType_GetArrFuncs`; `cast` for the old type numbers, `castdict` for the others) and reads anew for every
//! cast: `get_legacy_dtype_cast_function` in `dtype_transfer.c`, from NumPy 1.20 to 2.4. So an entry may be replaced at
//! any time. `PyArray_RegisterCastFunc` writes the same entry, but where the cast was used before, it warns and drops a
//! reference to the cast that it does not own, which ends in a crash; it is not used here.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use numpy::npyffi::{PyArray_ArrFuncs, PyArray_Descr, PyArray_DescrProto, is_numpy_2, npy_intp};
use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict};

use crate::casts::{self, Answers, BFLOAT16, FLOAT16_KIND, FLOAT32_KIND, FLOAT64_KIND, KINDS, is_byte};
use crate::system::level;

/// NumPy's `PyArray_VectorUnaryFunc`.
type Cast = unsafe extern "C" fn(*mut c_void, *mut c_void, npy_intp, *mut c_void, *mut c_void);

/// Below this many elements our conversions have too much to set up, and look-ups or the former function do the cast.
/// `ml_dtypes`' casts of bfloat16 are quicker than its others. NumPy casts arrays with gaps one element at a time.
const fn fewest(from: usize, to: usize) -> npy_intp {
    if from == BFLOAT16 || to == BFLOAT16 { 1024 } else { 128 }
}

/// What belongs to one pair of dtypes.
struct Pair {
    /// The function that ours took the place of.
    former: AtomicPtr<c_void>,
    /// Whether ours was called since one last asked.
    called: AtomicBool,
    /// The answer for every code of a byte.
    answers: OnceLock<Box<[u64; 256]>>,
}

impl Pair {
    const fn new() -> Self {
        Self {
            former: AtomicPtr::new(ptr::null_mut()),
            called: AtomicBool::new(false),
            answers: OnceLock::new(),
        }
    }

    fn former(&self) -> Cast {
        // SAFETY: NumPy is given our function, which alone calls this, after the former one was put here.
        unsafe { std::mem::transmute(self.former.load(Ordering::Acquire)) }
    }
}

const COUNT: usize = KINDS.len();

static PAIRS: [[Pair; COUNT]; COUNT] = [const { [const { Pair::new() }; COUNT] }; COUNT];

/// For each target of a byte, the answers for every code of a source of 16 bits.
struct Halves {
    bfloat16: OnceLock<Box<Answers>>,
    float16: OnceLock<Box<Answers>>,
}

static HALVES: [Halves; COUNT] =
    [const { Halves { bfloat16: OnceLock::new(), float16: OnceLock::new() } }; COUNT];

/// What NumPy calls for a pair.
///
/// # Safety
///
/// `n` aligned elements of the first kind at `src`, room for as many of the second at `dst`.
unsafe extern "C" fn cast<const FROM: usize, const TO: usize>(
    src: *mut c_void,
    dst: *mut c_void,
    n: npy_intp,
    src_array: *mut c_void,
    dst_array: *mut c_void,
) {
    // SAFETY: the arguments are the caller's own.
    unsafe {
        // An element of an array with gaps.
        if n == 1 && few::<FROM, TO>(src, dst, 1) {
            return;
        }
        rest::<FROM, TO>(src, dst, n, src_array, dst_array);
    }
}

/// # Safety
///
/// As [`cast`].
#[inline(never)]
unsafe fn rest<const FROM: usize, const TO: usize>(
    src: *mut c_void,
    dst: *mut c_void,
    n: npy_intp,
    src_array: *mut c_void,
    dst_array: *mut c_void,
) {
    // SAFETY: the arguments are the caller's own.
    unsafe {
        if n >= const { fewest(FROM, TO) } {
            long(FROM, TO, src, dst, n, src_array, dst_array);
        } else if n == 1
            // `ml_dtypes` goes through some of these with vectors.
            || const { TO == BFLOAT16 || (FROM == BFLOAT16 && !is_byte(TO)) }
            || !few::<FROM, TO>(src, dst, n as usize)
        {
            PAIRS[FROM][TO].former()(src, dst, n, src_array, dst_array);
        }
    }
}

/// Casts a few elements where that is quicker than either conversion; false, and they are all to be cast, if it is not.
///
/// # Safety
///
/// As [`cast`].
#[inline(always)]
unsafe fn few<const FROM: usize, const TO: usize>(src: *mut c_void, dst: *mut c_void, n: usize) -> bool {
    // SAFETY: the caller vouches for both ends; the tables are those of the pair.
    unsafe {
        if const { is_byte(FROM) } {
            let answers = PAIRS[FROM][TO].answers.get();
            answers.is_some_and(|answers| {
                casts::few_bytes(TO, src.cast(), dst.cast(), n, answers);
                true
            })
        } else if const { TO == BFLOAT16 } {
            casts::few_to_bfloat16::<FROM>(src.cast(), dst.cast(), n)
        } else if const { is_byte(TO) } {
            let halves = &HALVES[TO];
            let answers =
                if const { FROM == FLOAT16_KIND } { &halves.float16 } else { &halves.bfloat16 }.get();
            answers.is_some_and(|answers| casts::few_to_bytes::<FROM>(src.cast(), dst.cast(), n, answers))
        } else if const { FROM == BFLOAT16 && (TO == FLOAT16_KIND || TO == FLOAT64_KIND) } {
            casts::few_bfloat16::<TO>(src.cast(), dst.cast(), n)
        } else {
            false
        }
    }
}

/// # Safety
///
/// As [`cast`].
#[inline(never)]
unsafe fn long(
    from: usize,
    to: usize,
    src: *mut c_void,
    dst: *mut c_void,
    n: npy_intp,
    src_array: *mut c_void,
    dst_array: *mut c_void,
) {
    let pair = &PAIRS[from][to];
    pair.called.store(true, Ordering::Relaxed);
    // float32 and float64 are made of the 8-bit formats quicker than they are looked up.
    let decoded = from <= 8 && (to == FLOAT32_KIND || to == FLOAT32_KIND + 1);
    let answers = if decoded { None } else { pair.answers.get().map(|answers| &**answers) };
    // SAFETY: the caller vouches for both ends; where nothing is done the former function does it.
    unsafe {
        if !casts::cast(from, to, src.cast(), dst.cast(), n as usize, answers) {
            pair.former()(src, dst, n, src_array, dst_array);
        }
    }
}

macro_rules! row {
    ($from:literal) => {
        row!($from: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23)
    };
    ($from:literal: $($to:literal)*) => {
        [$(cast::<$from, $to> as Cast),*]
    };
}

macro_rules! rows {
    ($($from:literal)*) => { [$(row!($from)),*] };
}

static CASTS: [[Cast; COUNT]; COUNT] = rows!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23);

type Dtype<'a, 'py> = &'a Bound<'py, PyArrayDescr>;

/// The place of a dtype's kind in the list. `longlong` is another dtype than `long`, of the same kind.
fn kind(dtype: Dtype<'_, '_>) -> PyResult<usize> {
    let name: String = dtype.getattr("name")?.extract()?;
    KINDS
        .iter()
        .position(|kind| kind.name() == name)
        .ok_or_else(|| PyTypeError::new_err(format!("no casts of {name} are replaced")))
}

fn functions(dtype: Dtype<'_, '_>) -> PyResult<*mut PyArray_ArrFuncs> {
    let py = dtype.py();
    let descr: *mut PyArray_Descr = dtype.as_dtype_ptr();
    if !is_numpy_2(py) {
        // SAFETY: a descriptor of NumPy 1 is laid out so.
        return Ok(unsafe { (*descr.cast::<PyArray_DescrProto>()).f });
    }
    /// Where NumPy's table of its C API has `_PyDataType_GetArrFuncs`.
    const GET_ARR_FUNCS: usize = 365;
    let capsule = py.import("numpy._core.multiarray")?.getattr("_ARRAY_API")?.cast_into::<PyCapsule>()?;
    let api = capsule.pointer_checked(None)?.cast::<*const c_void>();
    // SAFETY: NumPy 2 has that function there, of this type, and lives as long as the interpreter.
    Ok(unsafe {
        let get: unsafe extern "C" fn(*const PyArray_Descr) -> *mut PyArray_ArrFuncs =
            std::mem::transmute(api.add(GET_ARR_FUNCS).read());
        get(descr)
    })
}

/// The table's entry for a pair: in the array, or in the dictionary under the type number.
enum Entry<'py> {
    Array(*mut Option<Cast>),
    Dictionary(Bound<'py, PyDict>, c_int),
}

impl<'py> Entry<'py> {
    fn of(from: Dtype<'_, 'py>, to: Dtype<'_, 'py>) -> PyResult<Option<Self>> {
        let functions = functions(from)?;
        let number = to.num();
        // SAFETY: the table of a registered dtype, which lives as long as the interpreter.
        unsafe {
            let array = &raw mut (*functions).cast;
            let index = usize::try_from(number).unwrap_or(usize::MAX);
            if index < (*array).len() {
                return Ok(Some(Self::Array((&raw mut (*array)[index]).cast())));
            }
            let Some(dictionary) = Bound::from_borrowed_ptr_or_opt(from.py(), (*functions).castdict) else {
                return Ok(None);
            };
            Ok(Some(Self::Dictionary(dictionary.cast_into::<PyDict>()?, number)))
        }
    }

    fn get(&self) -> PyResult<*mut c_void> {
        match self {
            Self::Array(place) => {
                // SAFETY: a place in a table that lives; a missing function is a null pointer.
                let cast = unsafe { **place };
                Ok(cast.map_or(ptr::null_mut(), |cast| cast as *mut c_void))
            }
            Self::Dictionary(dictionary, number) => match dictionary.get_item(number)? {
                Some(capsule) => Ok(capsule.cast::<PyCapsule>()?.pointer_checked(None)?.as_ptr()),
                None => Ok(ptr::null_mut()),
            },
        }
    }

    /// # Safety
    ///
    /// `function` must be a cast of this pair that is never unloaded.
    unsafe fn set(&self, function: *mut c_void) -> PyResult<()> {
        match self {
            Self::Array(place) => {
                // SAFETY: a place in a table that lives, which others may read meanwhile.
                unsafe { AtomicPtr::from_ptr(place.cast::<*mut c_void>()) }
                    .store(function, Ordering::Release);
                Ok(())
            }
            Self::Dictionary(dictionary, number) => {
                // SAFETY: a capsule of no name, as NumPy makes and expects it.
                let capsule = unsafe {
                    let made = ffi::PyCapsule_New(function, ptr::null(), None);
                    Bound::from_owned_ptr_or_err(dictionary.py(), made)?
                };
                dictionary.set_item(number, capsule)
            }
        }
    }
}

/// Whose function NumPy has for a cast: "ramekin", "other", or None if there is none.
#[pyfunction]
pub(crate) fn cast_owner(from: Dtype<'_, '_>, to: Dtype<'_, '_>) -> PyResult<Option<&'static str>> {
    let Some(entry) = Entry::of(from, to)? else { return Ok(None) };
    let function = entry.get()?;
    if function.is_null() {
        return Ok(None);
    }
    let ours = CASTS[kind(from)?][kind(to)?] as *mut c_void;
    Ok(Some(if function == ours { "ramekin" } else { "other" }))
}

/// Keeps what every bfloat16 and every float16 becomes in an 8-bit dtype, by which few elements are cast. Once is
/// enough.
#[pyfunction]
pub(crate) fn keep_answers(to: Dtype<'_, '_>, bfloat16: Vec<u8>, float16: Vec<u8>) -> PyResult<()> {
    let kind = kind(to)?;
    if !is_byte(kind) {
        return Err(PyValueError::new_err(format!("{to} is no dtype of ml_dtypes of 8 bits")));
    }
    let whole = |answers: Vec<u8>| {
        <Box<Answers>>::try_from(answers).map_err(|_| PyValueError::new_err("16 bits have 65536 codes"))
    };
    let (bfloat16, float16) = (whole(bfloat16)?, whole(float16)?);
    let _ = HALVES[kind].bfloat16.set(bfloat16);
    let _ = HALVES[kind].float16.set(float16);
    Ok(())
}

/// Gives NumPy our function for a cast that has another's. `answers`, for 8-bit sources, are what every code becomes,
/// as the bits of the result.
#[pyfunction]
pub(crate) fn take_cast(from: Dtype<'_, '_>, to: Dtype<'_, '_>, answers: Option<Vec<u64>>) -> PyResult<()> {
    // A level that the CPU lacks is told here, not at the first cast.
    level()?;
    let (from_kind, to_kind) = (kind(from)?, kind(to)?);
    let pair = &PAIRS[from_kind][to_kind];
    let none = || PyValueError::new_err(format!("there is no cast from {from} to {to}"));
    let entry = Entry::of(from, to)?.ok_or_else(none)?;
    let former = entry.get()?;
    if former.is_null() {
        return Err(none());
    }
    let ours = CASTS[from_kind][to_kind] as *mut c_void;
    if former == ours {
        return Ok(());
    }
    if let Some(answers) = answers {
        let answers = <Box<[u64; 256]>>::try_from(answers)
            .map_err(|_| PyValueError::new_err("a byte has 256 codes"))?;
        let _ = pair.answers.set(answers);
    }
    pair.former.store(former, Ordering::Release);
    // SAFETY: our function for the pair, in a module that is never unloaded.
    unsafe { entry.set(ours) }
}

/// Gives NumPy back the function that [`take_cast`] took the place of; nothing if another's is there.
#[pyfunction]
pub(crate) fn give_back_cast(from: Dtype<'_, '_>, to: Dtype<'_, '_>) -> PyResult<()> {
    let (from_kind, to_kind) = (kind(from)?, kind(to)?);
    let Some(entry) = Entry::of(from, to)? else { return Ok(()) };
    if entry.get()? == CASTS[from_kind][to_kind] as *mut c_void {
        // SAFETY: the function that NumPy had for this pair.
        unsafe { entry.set(PAIRS[from_kind][to_kind].former.load(Ordering::Acquire))? };
    }
    Ok(())
}

/// Whether NumPy has called our function for a cast since this was last asked.
#[pyfunction]
pub(crate) fn cast_was_called(from: Dtype<'_, '_>, to: Dtype<'_, '_>) -> PyResult<bool> {
    Ok(PAIRS[kind(from)?][kind(to)?].called.swap(false, Ordering::Relaxed))
}
