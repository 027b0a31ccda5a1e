"""Tensors in scaled formats: codes, scales and shape in their true storage size."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ramekin import _native
from ramekin.block_formats import BlockFormat, BlockFormatLike, formats_of, target_format
from ramekin.convert import cast, cast_target
from ramekin.formats import FloatFormat, FormatLike, float32, format_of
from ramekin.quantized.layout import Axes, Block, Layout, resolve
from ramekin.quantized.slicing import Index, sliced
from ramekin.quantized.stored import (
    as_float32,
    check_tensor_scale,
    codes_dtype,
    raw,
    same_bits,
    same_codes,
    scales_dtype,
)
from ramekin.quantized.torchao import torchao_parts

if TYPE_CHECKING:
    from ramekin.analysis import ErrorStats

__all__ = ["Parts", "QuantizedArray"]

_Array: TypeAlias = NDArray[Any]

_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)


class Parts(NamedTuple):
    """A quantised array as the core reads it: in storage order, the packed axis last and without gaps.

    Attributes
    ----------
    codes : ndarray of uint8 or uint16
        The other axes may have any strides.
    scales : ndarray of uint8, uint16 or float32
        One for each block, in any strides; of shape (1,) for one scale.
    element : FloatFormat
    scale : FloatFormat or None
        None for float32.
    block : (int, int) or None
        Rows and columns on the last two axes; None for one scale.
    axis : int
        Where the packed axis is in the array; -1 if it has no axes.
    length : int
        Elements along it.
    integer : bool
    tensor_scale : float or None
    """

    codes: _Array
    scales: _Array
    element: FloatFormat
    scale: FloatFormat | None
    block: tuple[int, int] | None
    axis: int
    length: int
    integer: bool
    tensor_scale: float | None


class QuantizedArray:
    """A tensor whose elements are in a small format and share scales: ``value = element * scale``.

    Made by :func:`~ramekin.quantize`, or by :meth:`from_parts` from codes and scales that exist. Codes of
    fewer than 8 bits are packed, low bits first; each row of them along the packed axis begins with a byte of
    its own.

    NumPy's functions take it at its float32 values (``np.asarray(q)``); its ufuncs and operators refuse it,
    because it is not obvious what format their result should have. Indexing gives views: ints and slices of
    any step on axes without blocks, on blocked axes slices of whole blocks in whole bytes.

    Attributes
    ----------
    codes : ndarray
        A view of the codes: of the tensor's shape, with bytes along the packed axis where codes are packed.
        In the dtype of the elements' format where that has one and is not packed (int8 for integers), else
        unsigned integers.
    scales : ndarray
        A view of the scales: of the tensor's shape with each axis divided by its block and rounded up; of
        length 1 along an axis that is one block; of shape () for a single scale. In the dtype of the scales'
        format.
    tensor_scale : float32 scalar or None
        What multiplies all the scales, where the format has that.
    format : BlockFormat or FloatFormat
        What it was quantised to. Scales of a :class:`FloatFormat` are float32.
    shape : tuple of int
    ndim, size : int
    axis : int, (int, int) or None
        The axis along which blocks lie and codes are packed; both axes of tiles, rows first; None with one
        scale for everything, where codes are packed along the last axis.
    block : int, (int, int) or None
        The length of a block, or rows and columns of a tile; None where a whole axis or everything is one
        block.
    nbytes : int
        Bytes of codes and scales, and 4 for a tensor scale.
    stats : ErrorStats or None
        What ``quantize(..., stats=True)`` counted; transposed along, and not kept by parts.
    T : QuantizedArray
        The transposed tensor, a view.
    """

    __slots__ = ("_codes", "_format", "_layout", "_scales", "_stats", "_tensor_scale")

    _codes: _Array
    _scales: _Array
    _format: BlockFormat | FloatFormat
    _layout: Layout
    # Exactly, as a float of Python's: where the environment flushes subnormals NumPy's scalars lose them.
    _tensor_scale: float | None
    _stats: ErrorStats | None

    # Equal arrays may be changed through their views.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        raise TypeError("a QuantizedArray is made by quantize or QuantizedArray.from_parts")

    @classmethod
    def _of(
        cls,
        codes: _Array,
        scales: _Array,
        format: BlockFormat | FloatFormat,
        layout: Layout,
        tensor_scale: float | None,
        stats: ErrorStats | None = None,
    ) -> QuantizedArray:
        """Make one from raw integers of codes and scales (or float32), axes as in the tensor, unchecked."""
        made = object.__new__(cls)
        made._codes, made._scales = codes, scales
        made._format, made._layout = format, layout
        made._tensor_scale, made._stats = tensor_scale, stats
        return made

    @classmethod
    def from_parts(
        cls,
        codes: _Array,
        scales: _Array,
        format: BlockFormatLike | FormatLike,
        *,
        shape: SupportsIndex | Sequence[SupportsIndex] | None = None,
        axis: Axes | None = None,
        block: Block | None = None,
        tensor_scale: float | None = None,
    ) -> QuantizedArray:
        """Take codes and scales as they are, without copying them.

        It is the inverse of the attributes of those names: for any `q` that is not the transpose of packed
        codes with one scale,
        ``from_parts(q.codes, q.scales, q.format, shape=q.shape, axis=q.axis, block=q.block,
        tensor_scale=q.tensor_scale) == q``.

        Parameters
        ----------
        codes : ndarray
            Shaped and typed as the attribute, or as the unsigned integers of the same size. Bits after the
            last code of a row are ignored.
        scales : ndarray
            Likewise.
        format : BlockFormat, FloatFormat, str, dtype or scalar type
            A block format, or the format of elements with float32 scales.
        shape : int or tuple of int, optional
            The tensor's shape; if not given, packed rows are full: all elements that fit into their bytes.
        axis, block : optional
            As for :func:`~ramekin.quantize`.
        tensor_scale : float, optional
            The tensor's scale, positive and finite in float32, for formats that have one; 1 if not given.

        Returns
        -------
        QuantizedArray
            Whose codes and scales share memory with those given.

        Raises
        ------
        TypeError
            If codes or scales have another dtype or foreign byte order, or an argument is of another type.
        ValueError
            If shapes do not fit together, or the tensor's scale is out of range or there is none in the
            format.
        """
        fmt = target_format(format, "from_parts")
        codes = raw(np.asarray(codes), codes_dtype(fmt), f"codes of {fmt}")
        scales = raw(np.asarray(scales), scales_dtype(fmt), f"scales of {fmt}")
        packed, blocks = resolve(codes.ndim, fmt, axis, block, "from_parts")
        if shape is None:
            bits = min(fmt.bits, 8)  # of a unit of the packed axis
            sizes = [n * 8 // bits if at == packed else n for at, n in enumerate(codes.shape)]
        else:
            given = shape if isinstance(shape, Sequence) else (shape,)
            sizes = [operator.index(n) for n in given]
        layout = Layout(tuple(sizes), fmt.bits, packed, blocks)
        if len(layout.shape) != codes.ndim or layout.codes_shape != codes.shape:
            needed = f", which takes {layout.codes_shape}" if len(layout.shape) == codes.ndim else ""
            raise ValueError(
                f"from_parts: codes of shape {codes.shape} do not hold a tensor of shape {layout.shape} in "
                f"{fmt}{needed}"
            )
        if scales.shape != layout.scales_shape:
            raise ValueError(
                f"from_parts: scales have shape {scales.shape}, but a tensor of shape {layout.shape} in "
                f"these blocks has {layout.scales_shape}"
            )
        return cls._of(codes, scales, fmt, layout, check_tensor_scale(tensor_scale, fmt))

    @property
    def codes(self) -> _Array:
        """A view of the codes."""
        return self._codes.view(codes_dtype(self._format))

    @property
    def scales(self) -> _Array:
        """A view of the scales."""
        return self._scales.view(scales_dtype(self._format))

    @property
    def tensor_scale(self) -> np.float32 | None:
        """What multiplies all the scales."""
        return None if self._tensor_scale is None else as_float32(self._tensor_scale)

    @property
    def format(self) -> BlockFormat | FloatFormat:
        """What it was quantised to."""
        return self._format

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return self._layout.shape

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return len(self._layout.shape)

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self._layout.shape)

    @property
    def axis(self) -> int | tuple[int, int] | None:
        """The axis along which blocks lie."""
        return self._layout.axis

    @property
    def block(self) -> int | tuple[int, int] | None:
        """The length of a block."""
        return self._layout.block

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self._codes.nbytes + self._scales.nbytes + (0 if self._tensor_scale is None else 4)

    @property
    def stats(self) -> ErrorStats | None:
        """What ``quantize(..., stats=True)`` counted."""
        return self._stats

    @property
    def T(self) -> QuantizedArray:  # noqa: N802 - NumPy's name
        """The transposed tensor."""
        codes, scales, layout = self._codes.T, self._scales.T, self._layout.reversed
        return self._of(codes, scales, self._format, layout, self._tensor_scale, self._stats)

    def transpose(self, *axes: SupportsIndex | tuple[SupportsIndex, ...] | None) -> QuantizedArray:
        """Permute the axes; blocks and packing stay with theirs.

        Parameters
        ----------
        *axes : ints, or a tuple of them
            As for ``numpy.ndarray.transpose``; all axes reversed if not given.

        Returns
        -------
        QuantizedArray
            A view.

        Raises
        ------
        ValueError
            If the axes are no permutation of the tensor's.
        """
        # NumPy knows all the ways to write a permutation; the shape of an array without data tells it.
        order = np.broadcast_to(np.int8(0), tuple(range(1, self.ndim + 1))).transpose(*axes).shape
        permutation = tuple(n - 1 for n in order)
        scales = self._scales.transpose(permutation) if self._scales.ndim else self._scales
        layout = self._layout.transposed(permutation)
        codes = self._codes.transpose(permutation)
        return self._of(codes, scales, self._format, layout, self._tensor_scale, self._stats)

    def dequantize(self, dtype: FormatLike = np.float32) -> _Array:
        """Give the values: element times scale, and times the tensor's scale where there is one.

        Parameters
        ----------
        dtype : dtype or format, default float32
            float64, where element times scale is exact; float32, where it is rounded once, to nearest even,
            overflow to infinity; or any format that has a NumPy dtype, to which the float64 value is rounded
            likewise, as by :func:`~ramekin.cast`. The tensor's scale is multiplied after that product in
            float64 or float32, which is one rounding more.

        Returns
        -------
        ndarray
            Of the tensor's shape; in memory the packed axis is the last. Blocks whose scale is NaN are NaN.

        Raises
        ------
        TypeError
            If `dtype` is no float format.
        """
        target = cast_target(dtype)
        if target is None or target == float32:
            return self._values(_FLOAT64 if target is None else _FLOAT32)
        return cast(self._values(_FLOAT64), target)

    def _values(self, dtype: np.dtype[Any]) -> _Array:
        parts = self._parts()
        layout = self._layout
        out = np.empty([layout.shape[axis] for axis in layout.order] or 1, dtype)
        codes, scales = np.ascontiguousarray(parts.codes), np.ascontiguousarray(parts.scales)
        _native.dequantize(
            codes, scales, out, parts.element, parts.scale, parts.block, parts.tensor_scale, parts.integer
        )
        return layout.as_shown(out, self.ndim)

    def _parts(self) -> Parts:
        """Return what the core works on; codes are copied only where their rows have gaps."""
        layout = self._layout
        element, scale = formats_of(self._format)
        codes = layout.as_stored(self._codes)
        if codes.shape[-1] > 1 and codes.strides[-1] != codes.itemsize:
            codes = np.ascontiguousarray(codes)
        scales = layout.native_scales(layout.as_stored(self._scales))
        return Parts(
            codes if codes.flags.aligned else codes.copy(),
            scales if scales.flags.aligned else scales.copy(),
            element,
            scale,
            layout.native_block,
            layout.packed,
            layout.shape[layout.packed] if layout.shape else 1,
            isinstance(self._format, BlockFormat) and self._format.integer,
            self._tensor_scale,
        )

    def to_torchao(self) -> dict[str, _Array]:
        """Give the arrays that torchao's tensors are made of, axes and elements in their order.

        Returns
        -------
        dict of str to ndarray
            ``"qdata"`` and ``"scale"``, C-contiguous, shared with this array where they already are:

            - scales of float8_e8m0fnu, for ``MXTensor``: codes of float8 in their dtype, of float6 one in
              each uint8, of float4 packed, the first in the low half of its byte; scales not swizzled
            - NVFP4, for ``NVFP4Tensor``: likewise, and ``"per_tensor_scale"``, float32 of shape ()
            - float8 with float32 scales, for ``Float8Tensor``: scales of the tensor's rank

            torch takes the bytes of dtypes that NumPy does not have itself:
            ``torch.from_numpy(a.view(np.uint8)).view(torch.float8_e4m3fn)``.

        Raises
        ------
        ValueError
            If torchao has no such tensor: of these elements or scales, with tiles or partial blocks, with
            blocks along another axis than the last (float8 with float32 scales excepted).

        Notes
        -----
        The layouts are those of torchao 0.18.
        """
        return torchao_parts(self._codes, self._scales, self._format, self._layout, self.tensor_scale)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> _Array:
        if copy is False:
            raise ValueError("a QuantizedArray becomes an array by dequantising, which copies")
        wanted = _FLOAT32 if dtype is None else np.dtype(dtype)
        if wanted.isnative and (wanted == _FLOAT64 or format_of(wanted) is not None):
            return self.dequantize(wanted)
        return self._values(_FLOAT64).astype(wanted)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **kwargs: object) -> NoReturn:
        raise TypeError(
            f"NumPy's ufuncs ({ufunc.__name__}) do not take a QuantizedArray; accepted: what dequantize gives"
        )

    def __getitem__(self, key: Index) -> QuantizedArray:
        layout, codes, scales = sliced(self._layout, key)
        # With an ellipsis NumPy gives arrays even where no axis is left.
        return self._of(
            self._codes[(*codes, ...)], self._scales[(*scales, ...)], self._format, layout, self._tensor_scale
        )

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a QuantizedArray without dimensions has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[QuantizedArray]:
        # Python's own iteration would take the refusal to index a blocked axis for the end.
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Tell whether format, shape, blocks, codes and scales are the same, bit for bit."""
        if not isinstance(other, QuantizedArray):
            return NotImplemented
        return (
            self._format == other._format
            and self._layout == other._layout
            and self._tensor_scale == other._tensor_scale
            and same_bits(self._scales, other._scales)
            and same_codes(self._codes, other._codes, self._layout)
        )

    def __copy__(self) -> QuantizedArray:
        return self.copy()

    def __deepcopy__(self, memo: object) -> QuantizedArray:
        return self.copy()

    def copy(self) -> QuantizedArray:
        """Return a copy that shares no memory with this."""
        codes, scales = self._codes.copy(order="K"), self._scales.copy(order="K")
        return self._of(codes, scales, self._format, self._layout, self._tensor_scale, self._stats)

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (self._codes, self._scales, self._format, self._layout, self._tensor_scale, self._stats)
        return (QuantizedArray._of, parts)

    def __repr__(self) -> str:
        bits = f", {self.nbytes * 8 / self.size:.4g} bits per element" if self.size else ""
        return f"<QuantizedArray {self.shape} {self._format}, {self._layout}{bits}>"
