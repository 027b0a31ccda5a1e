"""Arrays from and to other libraries, without a copy where both can look at the same memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ramekin import _native
from ramekin.formats import as_format, format_of
from ramekin.packing import pack, unpack
from ramekin.quantized import QuantizedArray

if TYPE_CHECKING:
    import torch

__all__ = ["from_dlpack", "to_torch"]

_Array: TypeAlias = NDArray[Any]

# DLPack's devices whose memory the CPU reads: its own, and that which CUDA and ROCm have pinned.
_CPU, _CUDA_HOST, _ROCM_HOST = 1, 3, 11
_DEVICES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 13: "CUDA managed", 14: "oneAPI"}

# dlpack.h, DLDataTypeCode: those of NumPy by NumPy's letter, the others by format.
_LETTERS = {0: "i", 1: "u", 2: "f", 5: "c", 6: "b"}
_FORMATS = {
    (4, 16): "bfloat16",
    (7, 8): "float8_e3m4",
    (8, 8): "float8_e4m3",
    (9, 8): "float8_e4m3b11fnuz",
    (10, 8): "float8_e4m3fn",
    (11, 8): "float8_e4m3fnuz",
    (12, 8): "float8_e5m2",
    (13, 8): "float8_e5m2fnuz",
    (14, 8): "float8_e8m0fnu",
    (15, 6): "float6_e2m3fn",
    (16, 6): "float6_e3m2fn",
    (17, 4): "float4_e2m1fn",
}

# The newest version that is asked for; the owner may give an older one.
_VERSION = (1, 1)

# Formats that torch has, by its names.
_TORCH = frozenset(
    [
        "float16",
        "float32",
        "bfloat16",
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
    ]
)


class _Lender(Protocol):
    def __dlpack__(self, *, max_version: tuple[int, int] | None = ...) -> object: ...


class _Owner:
    """Memory that another library lends, as NumPy takes it: arrays keep this object, and it the loan."""

    __slots__ = ("__array_interface__", "_lent")

    def __init__(self, lent: _native.Lent, interface: dict[str, Any]) -> None:
        self._lent = lent
        self.__array_interface__ = interface


def from_dlpack(x: _Lender, /, *, copy: bool | None = None) -> _Array:
    """Take an array of another library: torch, JAX, CuPy's pinned memory, anything with ``__dlpack__``.

    Unlike :func:`numpy.from_dlpack` it takes bfloat16, float8, float6 and float4, as arrays of
    ``ml_dtypes``' dtypes.

    Parameters
    ----------
    x : object with ``__dlpack__``
        An array in memory that the CPU reads, of numbers, bool or any format with a NumPy dtype.
    copy : bool, optional
        True for a copy of one's own. False if a copy would be an error. If not given, only what must be
        copied is.

    Returns
    -------
    ndarray
        A view of the same memory, which `x`'s owner keeps as long as the view lives. It is read-only if the
        owner says so, or speaks a DLPack older than 1.0, where it cannot say (as JAX does). Two float4 in a
        byte (torch's ``float4_e2m1fn_x2``) and packed float6 are unpacked, which copies: the last axis
        counts numbers then.

    Raises
    ------
    TypeError
        If `x` has no ``__dlpack__``, or elements that no NumPy dtype holds.
    ValueError
        If the memory is another device's, or a copy is needed and `copy` is False.
    BufferError
        If the owner does not lend the array (a torch tensor that requires a gradient), or speaks a DLPack of
        another major version.

    Notes
    -----
    `DLPack <https://dmlc.github.io/dlpack/latest/>`_ 1.1, and 0.x; the exchange follows the
    `array API standard
    <https://data-apis.org/array-api/latest/API_specification/generated/array_api.array.__dlpack__.html>`_.
    """
    lent = _lend(x)
    kind, _ = lent.device
    if kind not in (_CPU, _CUDA_HOST, _ROCM_HOST):
        raise _elsewhere(kind)
    code, bits, lanes = lent.dtype
    name = _FORMATS.get((code, bits))
    if name is not None and bits < 8 and (lanes != 1 or lent.padded is not True):
        return _unpacked(lent, name, lanes, copy)
    if lanes != 1 or (name is None and (code not in _LETTERS or bits % 8)):
        raise TypeError(
            f"elements of DLPack type {code} with {bits} bits in {lanes} lanes have no NumPy dtype"
        )
    if name is None:
        try:
            array = _view(lent, np.dtype(f"{_LETTERS[code]}{bits // 8}"))
        except TypeError:
            raise TypeError(f"elements of DLPack type {code} with {bits} bits have no NumPy dtype") from None
    else:
        fmt = as_format(name)
        array = _view(lent, fmt.code_dtype).view(fmt.dtype)
    return array.copy() if copy else array


def _lend(x: _Lender) -> _native.Lent:
    give = getattr(x, "__dlpack__", None)
    if give is None:
        raise TypeError(f"{type(x).__name__} has no __dlpack__; np.asarray takes what has __array__")
    device = getattr(x, "__dlpack_device__", None)
    if device is not None:
        kind, _ = device()
        if int(kind) not in (_CPU, _CUDA_HOST, _ROCM_HOST):
            raise _elsewhere(int(kind))
    try:
        capsule = give(max_version=_VERSION)
    except TypeError:
        # An owner from before there were versions.
        capsule = give()
    return _native.Lent(capsule)


def _elsewhere(kind: int) -> ValueError:
    name = _DEVICES.get(kind, f"DLPack device {kind}")
    return ValueError(
        f"the array is in memory of {name}; accepted: the CPU's (move it first, with .cpu() in torch)"
    )


def _view(lent: _native.Lent, dtype: np.dtype[Any]) -> _Array:
    shape, strides = tuple(lent.shape), lent.strides
    if 0 in shape:
        return np.empty(shape, dtype)
    interface = {
        "version": 3,
        "typestr": dtype.str,
        "shape": shape,
        "strides": None if strides is None else tuple(n * dtype.itemsize for n in strides),
        "data": (lent.address, lent.read_only),
    }
    return np.asarray(_Owner(lent, interface))


def _unpacked(lent: _native.Lent, name: str, lanes: int, copy: bool | None) -> _Array:
    fmt = as_format(name)
    bits = fmt.bits * lanes
    if bits % 8:
        raise TypeError(
            f"{fmt} without lanes may lie in memory in more than one way; accepted: elements of whole bytes, "
            "such as torch.float4_e2m1fn_x2, or what np.asarray makes of the array"
        )
    if copy is False:
        raise ValueError(f"{lanes} {fmt} in {bits // 8} bytes must be unpacked, which copies")
    element = np.dtype(f"V{bits // 8}") if bits > 8 else np.dtype(np.uint8)
    packed = np.ascontiguousarray(_view(lent, element))
    shape = (*packed.shape[:-1], packed.shape[-1] * lanes) if packed.ndim else (lanes,)
    return unpack(packed.reshape(-1).view(np.uint8), fmt, shape).view(fmt.dtype)


def to_torch(x: ArrayLike | QuantizedArray) -> torch.Tensor:
    """Make a torch tensor of an array of any dtype that torch has.

    Parameters
    ----------
    x : array_like or QuantizedArray
        Numbers or bool; of small formats bfloat16, float8 (e4m3fn, e5m2, their fnuz, e8m0fnu) and float4. Of
        a :class:`QuantizedArray` the codes are taken; ``to_torch(q.scales)`` makes a tensor of its scales.

    Returns
    -------
    torch.Tensor
        On the CPU. It shares `x`'s memory if that is an array that may be written, in native byte order and
        with strides that torch has (none negative). float4 becomes ``float4_e2m1fn_x2``, two in a byte with
        the first in the low half, half as long along the last axis; codes of float6 become uint8, those of
        mxint8 int8.

    Raises
    ------
    ImportError
        If torch is not installed.
    TypeError
        If torch has no such dtype.
    ValueError
        If the last axis of float4 numbers has an odd length, or is none.
    """
    import torch

    if isinstance(x, QuantizedArray):
        codes = x.codes
        element = getattr(x.format, "element", x.format)
        if getattr(element, "name", "") == "float4_e2m1fn":
            return _shared(codes.view(np.uint8)).view(torch.float4_e2m1fn_x2)
        return to_torch(codes)
    array = np.asarray(x)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    fmt = format_of(array.dtype)
    if fmt is not None and fmt.name == "float4_e2m1fn":
        if array.ndim == 0 or array.shape[-1] % 2:
            raise ValueError(
                f"torch keeps two {fmt} in a byte: the last axis of shape {array.shape} must be even"
            )
        packed = pack(array, fmt).reshape(*array.shape[:-1], array.shape[-1] // 2)
        return _shared(packed).view(torch.float4_e2m1fn_x2)
    if fmt is not None and fmt.name not in _TORCH:
        raise TypeError(
            f"torch has no {fmt}; accepted: {', '.join(sorted(_TORCH))}, float4_e2m1fn, integers, bool"
        )
    if fmt is None or fmt.name in ("float16", "float32"):
        return _shared(array)
    return _shared(array.view(fmt.code_dtype)).view(getattr(torch, fmt.name))


def _shared(array: _Array) -> torch.Tensor:
    import torch

    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    try:
        return torch.from_numpy(array)
    except TypeError:
        raise TypeError(f"torch has no dtype for {array.dtype}") from None
