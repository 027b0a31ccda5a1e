"""Arrays of other libraries: a DLPack lender of our own; torch, JAX, dask, xarray, threadpoolctl if there."""

from __future__ import annotations

import ctypes
import gc
import weakref

import ml_dtypes
import numpy as np
import pytest

import ramekin as rk

FORMATS = [f for f in rk.formats() if f.has_dtype]
CODES = {
    "bfloat16": 4,
    "float8_e3m4": 7,
    "float8_e4m3": 8,
    "float8_e4m3b11fnuz": 9,
    "float8_e4m3fn": 10,
    "float8_e4m3fnuz": 11,
    "float8_e5m2": 12,
    "float8_e5m2fnuz": 13,
    "float8_e8m0fnu": 14,
    "float6_e2m3fn": 15,
    "float6_e3m2fn": 16,
    "float4_e2m1fn": 17,
}


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Unversioned(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


# As owners must, until the deleter has been called; these for ever.
_LENDERS = []


class Lender:
    """Lends an array through DLPack as told, and counts what comes back."""

    def __init__(
        self, array, code, bits=None, *, version=(1, 0), flags=0, lanes=1, device=1, offset=0, **more
    ):
        self.array, self.version, self.device = array, version, device
        self.returned = 0
        shape = more.get("shape", array.shape)
        strides = more.get("strides", tuple(n // array.itemsize for n in array.strides))
        self._shape = (ctypes.c_int64 * max(len(shape), 1))(*shape)
        self._strides = None if strides is None else (ctypes.c_int64 * max(len(strides), 1))(*strides)
        bits = 8 * array.itemsize if bits is None else bits
        tensor = _Tensor(
            array.ctypes.data, device, 0, len(shape), code, bits, lanes, self._shape, self._strides, offset
        )
        self._deleter = _DELETER(self._back)
        address = ctypes.cast(self._deleter, ctypes.c_void_p)
        if version is None:
            self._managed = _Unversioned(tensor, None, address)
        else:
            self._managed = _Versioned(*version, None, address, flags, tensor)

    def _back(self, _):
        self.returned += 1

    def __dlpack_device__(self):
        return (self.device, 0)

    def __dlpack__(self, *, max_version=None):
        assert max_version >= (1, 0)
        _LENDERS.append(self)
        name = b"dltensor" if self.version is None else b"dltensor_versioned"
        return _new_capsule(ctypes.addressof(self._managed), name, None)


def codes_of(fmt):
    count = 1 << fmt.bits
    return np.arange(count, dtype=fmt.code_dtype)


@pytest.mark.parametrize("version", [None, (1, 0), (1, 1)])
@pytest.mark.parametrize("fmt", [f for f in FORMATS if f.name in CODES and f.bits >= 8], ids=str)
def test_formats_come_without_a_copy(fmt, version):
    codes = codes_of(fmt)
    lender = Lender(codes, CODES[fmt.name], version=version)
    array = rk.from_dlpack(lender)
    assert array.dtype == fmt.dtype
    assert array.shape == codes.shape
    assert array.ctypes.data == codes.ctypes.data
    assert (array.view(codes.dtype) == codes).all()
    # Before versions nobody could say that memory may be written.
    assert array.flags.writeable == (version is not None)
    view = array[3:5]
    del array
    gc.collect()
    assert lender.returned == 0
    del view
    gc.collect()
    assert lender.returned == 1


@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", "u8", "f2", "f4", "f8", "c8", "c16", "?"])
def test_numbers_of_numpy_come_too(dtype):
    x = np.arange(24).astype(dtype).reshape(2, 3, 4)
    code = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}[x.dtype.kind]
    for y in (x, x.transpose(2, 0, 1), x[:, ::-1, 1::2], x[0, 0, :1].reshape(()), x[:, :0]):
        array = rk.from_dlpack(Lender(y, code))
        assert array.dtype == x.dtype
        assert array.shape == y.shape
        assert (array == y).all()
        assert not y.size or (np.shares_memory(array, x) == np.shares_memory(x, y))


def test_flags_offsets_and_missing_strides():
    x = np.arange(12, dtype=np.float32)
    lender = Lender(x, 2, flags=1, offset=8, shape=(2, 5), strides=None)
    array = rk.from_dlpack(lender)
    assert not array.flags.writeable
    assert (array == x[2:].reshape(2, 5)).all()
    written = rk.from_dlpack(Lender(x, 2), copy=True)
    assert not np.shares_memory(written, x)
    assert written.flags.writeable
    lender = Lender(x, 2)
    copied = rk.from_dlpack(lender, copy=True)
    gc.collect()
    assert lender.returned == 1
    assert (copied == x).all()


def test_parts_of_bytes():
    codes = np.array([[1, 2, 3, 4], [5, 6, 7, 15]], np.uint8)
    packed = rk.pack(codes, "float4_e2m1fn").reshape(2, 2)
    array = rk.from_dlpack(Lender(packed, 17, 4, lanes=2))
    assert array.dtype == ml_dtypes.float4_e2m1fn
    assert (array.view(np.uint8) == codes).all()
    # Rows with gaps.
    array = rk.from_dlpack(Lender(packed.repeat(2, 0)[::2], 17, 4, lanes=2))
    assert (array.view(np.uint8) == codes).all()
    sixes = np.array([1, 2, 3, 63], np.uint8)
    array = rk.from_dlpack(Lender(rk.pack(sixes, "float6_e3m2fn").view("V3"), 16, 6, lanes=4))
    assert (array.view(np.uint8) == sixes).all()
    assert array.dtype == ml_dtypes.float6_e3m2fn
    # A byte each.
    array = rk.from_dlpack(Lender(sixes, 15, 6, flags=4))
    assert array.dtype == ml_dtypes.float6_e2m3fn
    assert array.ctypes.data == sixes.ctypes.data
    with pytest.raises(ValueError, match="2 float4_e2m1fn in 1 bytes must be unpacked, which copies"):
        rk.from_dlpack(Lender(packed, 17, 4, lanes=2), copy=False)
    with pytest.raises(TypeError, match="more than one way; accepted: elements of whole bytes"):
        rk.from_dlpack(Lender(codes, 17, 4, version=None))


def test_what_cannot_be_taken_is_named_and_given_back():
    x = np.zeros(4, np.float32)
    cases = [
        ({"device": 2}, ValueError, "memory of CUDA; accepted: the CPU's"),
        ({"device": 99}, ValueError, "memory of DLPack device 99"),
        ({"version": (2, 0)}, BufferError, "DLPack 2.0 is not understood; accepted: 1.x and older"),
        ({"lanes": 4}, TypeError, "type 2 with 32 bits in 4 lanes"),
        ({"code": 3}, TypeError, "type 3 with 32 bits"),
        ({"code": 2, "bits": 24}, TypeError, "type 2 with 24 bits"),
    ]
    for options, error, message in cases:
        lender = Lender(x, options.pop("code", 2), **options)
        with pytest.raises(error, match=message):
            rk.from_dlpack(lender)
        gc.collect()
        assert lender.returned == (lender.device == 1)
    with pytest.raises(TypeError, match=r"list has no __dlpack__; np\.asarray takes"):
        rk.from_dlpack([1.0])

    class Nothing:
        def __dlpack__(self):
            return 1

    with pytest.raises(TypeError, match="__dlpack__ gave no capsule"):
        rk.from_dlpack(Nothing())

    class Used:
        def __init__(self, capsule):
            self.capsule = capsule

        def __dlpack__(self):
            return self.capsule

    lender = Used(Lender(x, 2).__dlpack__(max_version=(1, 0)))
    kept = rk.from_dlpack(lender)
    with pytest.raises(BufferError, match="was used before"):
        rk.from_dlpack(lender)
    assert kept.shape == (4,)


def test_numpy_lends_to_us():
    x = np.arange(6.0).reshape(2, 3)
    y = rk.from_dlpack(x)
    assert np.shares_memory(x, y)
    assert (x == y).all()
    alive = weakref.ref(x)
    del x
    gc.collect()
    assert alive() is not None
    assert y[1, 2] == 5.0


class Wrapped:
    """What has __array__ and nothing else."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


def test_objects_with_array_are_taken_everywhere():
    x = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    w = Wrapped(x)
    pairs = [
        (lambda a: rk.cast(a, "float8_e4m3fn"), x),
        (lambda a: rk.encode(a, "float6_e2m3fn"), x),
        (lambda a: rk.round_to(a, "tfloat32"), x),
        (lambda a: rk.quantize(a, "mxfp8_e4m3").codes, x),
        (lambda a: rk.matmul(a, a), x),
        (lambda a: rk.matmul(a, rk.pack_matrix(a)), x),
        (lambda a: rk.dot(a, a), x[0]),
        (lambda a: np.asarray(rk.error_stats(a, a).max_abs), x),
        (lambda a: rk.decode(a, "float8_e5m2"), x.view(np.uint8)),
        (lambda a: rk.pack(a, "float4_e2m1fn"), x.view(np.uint8) & 15),
        (lambda a: rk.unpack(a, "float4_e2m1fn", (2 * 64 * 256,)), x.view(np.uint8)),
        (lambda a: rk.functional.softmax(a), x),
        (lambda a: rk.functional.relu(a), x),
    ]
    for function, value in pairs:
        expected = np.asarray(function(value))
        given = np.asarray(function(Wrapped(value)))
        assert given.dtype == expected.dtype
        assert given.tobytes() == expected.tobytes()
    assert np.asarray(w) is x


def test_torch_tensors_both_ways():
    torch = pytest.importorskip("torch")
    for name in [
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
        "bfloat16",
    ]:
        fmt = rk.as_format(name)
        codes = codes_of(fmt)
        array = codes.view(fmt.dtype)
        tensor = rk.to_torch(array)
        assert tensor.dtype == getattr(torch, name)
        assert tensor.data_ptr() == array.ctypes.data
        back = rk.from_dlpack(tensor)
        assert back.dtype == fmt.dtype
        assert back.ctypes.data == array.ctypes.data
        assert (back.view(codes.dtype) == codes).all()
        # What both call the same number.
        values = tensor.to(torch.float32).numpy()
        expected = array.astype(np.float32)
        assert ((values == expected) | (np.isnan(values) & np.isnan(expected))).all()
        two = array.reshape(2, -1)
        assert rk.to_torch(two.T).stride() == (1, codes.size // 2)
        assert (rk.from_dlpack(rk.to_torch(two).t()).view(codes.dtype) == codes.reshape(2, -1).T).all()
        assert (rk.to_torch(array[::-1]).view(torch.uint8).numpy() == codes[::-1].copy().view(np.uint8)).all()
        frozen = array.view()
        frozen.flags.writeable = False
        assert rk.to_torch(frozen).data_ptr() != array.ctypes.data
    fours = np.arange(16, dtype=np.uint8).reshape(2, 8).view(ml_dtypes.float4_e2m1fn)
    packed = rk.to_torch(fours)
    assert packed.dtype == torch.float4_e2m1fn_x2
    assert packed.shape == (2, 4)
    assert (rk.from_dlpack(packed).view(np.uint8) == fours.view(np.uint8)).all()
    for plain in (np.arange(4), np.ones((2, 2)), np.array([True]), np.arange(3, dtype=">f4"), [1.0, 2.0]):
        assert (rk.to_torch(plain).numpy() == np.asarray(plain)).all()
    with pytest.raises(ValueError, match="the last axis of shape \\(3,\\) must be even"):
        rk.to_torch(np.zeros(3, ml_dtypes.float4_e2m1fn))
    with pytest.raises(TypeError, match="torch has no float8_e3m4; accepted: bfloat16, float16"):
        rk.to_torch(np.zeros(3, ml_dtypes.float8_e3m4))
    with pytest.raises(TypeError, match="torch has no dtype for datetime64"):
        rk.to_torch(np.zeros(3, "M8[s]"))
    with pytest.raises(BufferError, match="grad"):
        rk.from_dlpack(torch.ones(3, requires_grad=True))


def test_torch_takes_quantised_codes():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(1).standard_normal((4, 64)).astype(np.float32)
    for name, dtype in [
        ("mxfp8_e5m2", torch.float8_e5m2),
        ("mxfp4", torch.float4_e2m1fn_x2),
        ("nvfp4", torch.float4_e2m1fn_x2),
    ]:
        q = rk.quantize(x, name)
        codes, scales = rk.to_torch(q), rk.to_torch(q.scales)
        assert codes.dtype == dtype
        assert (codes.view(torch.uint8).numpy() == q.codes.view(np.uint8)).all()
        assert (scales.view(torch.uint8).numpy() == q.scales.view(np.uint8)).all()
    assert rk.to_torch(rk.quantize(x, "mxfp6_e2m3")).dtype == torch.uint8
    assert rk.to_torch(rk.quantize(x, "mxint8")).dtype == torch.int8
    assert rk.to_torch(rk.quantize(x, "float8_e4m3fn")).dtype == torch.float8_e4m3fn


def test_jax_arrays_come_without_a_copy():
    jnp = pytest.importorskip("jax.numpy")
    for name in ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float16", "float32"]:
        x = jnp.asarray(np.linspace(0.5, 4, 6).reshape(2, 3), dtype=name)
        array = rk.from_dlpack(x)
        assert array.dtype == np.dtype(name)
        assert not array.flags.writeable
        assert (array == np.asarray(x)).all()
        assert array.ctypes.data == x.unsafe_buffer_pointer()
        assert (rk.cast(x, "float32") == np.asarray(x, np.float32)).all()
        assert (np.asarray(jnp.asarray(rk.cast(array, name))) == array).all()


def test_dask_blocks():
    da = pytest.importorskip("dask.array")
    x = np.random.default_rng(2).standard_normal((300, 100)).astype(np.float32)
    blocks = da.from_array(x, chunks=(70, 50))
    cast = blocks.map_blocks(rk.cast, "float8_e4m3fn", dtype=ml_dtypes.float8_e4m3fn)
    assert cast.dtype == ml_dtypes.float8_e4m3fn
    assert (cast.compute() == rk.cast(x, "float8_e4m3fn")).all()
    rounded = blocks.map_blocks(rk.round_to, "float6_e3m2fn")
    assert (rounded.compute(scheduler="threads") == rk.round_to(x, "float6_e3m2fn")).all()
    product = da.blockwise(
        rk.matmul,
        "ij",
        blocks.rechunk((70, -1)),
        "ik",
        blocks.T.rechunk((-1, 60)),
        "kj",
        dtype="f4",
        concatenate=True,
    )
    assert (product.compute() == rk.matmul(x, x.T)).all()


def test_xarray_functions():
    xr = pytest.importorskip("xarray")
    x = xr.DataArray(np.random.default_rng(3).standard_normal((5, 8)).astype(np.float32), dims=("a", "b"))
    y = xr.apply_ufunc(rk.cast, x, kwargs={"dtype": "bfloat16"})
    assert y.dims == ("a", "b")
    assert y.dtype == ml_dtypes.bfloat16
    assert (y.values == rk.cast(x.values, "bfloat16")).all()
    rounded = xr.apply_ufunc(rk.round_to, x, "float8_e5m2")
    assert (rounded.values == rk.round_to(x.values, "float8_e5m2")).all()
    pytest.importorskip("dask")
    lazy = xr.apply_ufunc(
        rk.cast,
        x.chunk({"a": 2}),
        kwargs={"dtype": "bfloat16"},
        dask="parallelized",
        output_dtypes=[ml_dtypes.bfloat16],
    )
    assert (lazy.values == y.values).all()


def test_threadpoolctl_sees_and_limits_the_pool():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    rk.register_threadpoolctl()
    rk.register_threadpoolctl()
    before = rk.get_num_threads()

    def ours():
        return [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "ramekin"]

    (pool,) = ours()
    assert pool["internal_api"] == "ramekin"
    assert pool["num_threads"] == before
    assert pool["version"] == rk.__version__
    assert pool["isa"] == rk.isa()
    with threadpoolctl.threadpool_limits(limits=1):
        assert rk.get_num_threads() == 1
        assert ours()[0]["num_threads"] == 1
    assert rk.get_num_threads() == before
    with threadpoolctl.threadpool_limits(limits=3, user_api="ramekin"):
        assert rk.get_num_threads() == 3
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        assert rk.get_num_threads() == before
    assert rk.get_num_threads() == before
