"""Our conversions as NumPy's own casts of ``ml_dtypes``' dtypes.

NumPy finds the function of a cast such as ``x.astype(ml_dtypes.float8_e4m3fn)`` in a table.
:func:`accelerate` puts ours there in place of those that ``ml_dtypes`` registered, after proving on the spot
that both give the same bits.
"""

from __future__ import annotations

import functools
import itertools
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ramekin import _native
from ramekin.formats import FloatFormat, as_format, formats

__all__ = ["AccelerateStatus", "accelerate"]

_Dtype: TypeAlias = np.dtype[Any]

# The numbers of C that ml_dtypes casts from and to; q and Q are dtypes of their own beside int64's and
# uint64's.
_FLOAT16, _FLOAT64 = np.dtype(np.float16), np.dtype(np.float64)
_NATIVE = tuple(
    np.dtype(code) for code in ["e", "f", "d", "?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q"]
)

# More elements than are left to ml_dtypes whatever the dtypes.
_ENOUGH = 2048


@dataclass(frozen=True)
class AccelerateStatus:
    """Whose function each cast has.

    Attributes
    ----------
    casts : tuple of (str, str)
        Source and target of the casts that are ours now, by the names of their dtypes.
    refused : dict of (str, str) to str
        Casts that stay with ``ml_dtypes`` though :func:`accelerate` was asked to take them, and why.
    """

    casts: tuple[tuple[str, str], ...]
    refused: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        """Whether any cast is ours."""
        return bool(self.casts)

    def __str__(self) -> str:
        refused = f", {len(self.refused)} refused" if self.refused else ""
        return f"{len(self.casts)} casts accelerated{refused}"


class _Accelerate:
    """See :meth:`__call__`."""

    def __init__(self) -> None:
        # What help() shows of an object is its own.
        self.__doc__ = _Accelerate.__call__.__doc__
        self._lock = threading.Lock()
        self._refused: dict[tuple[str, str], str] = {}

    def __call__(self) -> AccelerateStatus:
        """Let NumPy cast to and from ``ml_dtypes``' dtypes with our conversions, in the whole process.

        From then on ``astype``, assignment and whatever else casts arrays is as fast as
        :func:`~ramekin.cast`, in JAX, TensorFlow or anyone's code, with the bits that ``ml_dtypes`` gives:
        where it rounds twice (float64 and wide integers go through float32) so does the cast, unlike
        :func:`~ramekin.cast`. Floating-point warnings are those of before.

        Taken are the casts from float16, float32, float64, bool and integers to each of the twelve dtypes,
        back to these, and between the twelve; but not from bfloat16 to float32, integers and bool, nor from
        float8_e8m0fnu to integers: there is nothing to gain, or C leaves undefined what a number beyond the
        integer's range becomes. Others, of complex numbers for one, stay as they are. Before a cast is kept
        its results are compared with ``ml_dtypes``' own: on every code of sources up to 16 bits, on the
        neighbourhood of every number and tie of the target for wider ones. A cast whose bits differ, or that
        NumPy does not take from its table, is given back and named in a warning.

        Arrays with gaps, which NumPy casts one element at a time, and those of fewer than 128 elements (1024
        where bfloat16 is concerned) are looked up in tables of ``ml_dtypes``' answers if they go from or to a
        format of a byte, and converted on the spot if they go from or to bfloat16. Large arrays use the
        threads of :func:`~ramekin.set_num_threads`.

        May be called at any time and more than once.

        Returns
        -------
        AccelerateStatus
            As ``rk.accelerate.status()``.

        Warns
        -----
        RuntimeWarning
            If casts were refused.

        Raises
        ------
        ValueError
            If ``RAMEKIN_ISA`` names no level, or one that this CPU lacks.

        Notes
        -----
        The table is NumPy's ``PyArray_ArrFuncs`` (`NumPy C-API
        <https://numpy.org/doc/stable/reference/c-api/types-and-structures.html>`_), which
        ``PyArray_RegisterCastFunc`` writes too, but with a warning, and a reference dropped that is not its
        own, where the cast was used before (NumPy issue 20009).
        """
        with self._lock:
            self._refused = {}
            with np.errstate(all="ignore"):
                for fmt in _small():
                    if fmt.bits <= 8:
                        _keep_answers(fmt.dtype)
                for source, target in _pairs():
                    if _native.cast_owner(source, target) == "other":
                        reason = _take(source, target)
                        if reason is not None:
                            self._refused[source.name, target.name] = reason
            status = self._status()
        if status.refused:
            (source_name, target_name), reason = next(iter(status.refused.items()))
            warnings.warn(
                f"{len(status.refused)} casts stay with ml_dtypes, such as {source_name} to {target_name}: "
                f"{reason}; see rk.accelerate.status().refused",
                RuntimeWarning,
                stacklevel=2,
            )
        return status

    def status(self) -> AccelerateStatus:
        """Tell which casts are ours now."""
        with self._lock:
            return self._status()

    def undo(self) -> None:
        """Give NumPy the functions back that it had."""
        with self._lock:
            for source, target in _pairs():
                _native.give_back_cast(source, target)
            self._refused = {}

    def _status(self) -> AccelerateStatus:
        ours = (pair for pair in _pairs() if _native.cast_owner(*pair) == "ramekin")
        names = dict.fromkeys((source.name, target.name) for source, target in ours)
        return AccelerateStatus(tuple(names), dict(self._refused))

    def __repr__(self) -> str:
        return "<function accelerate>"


accelerate = _Accelerate()


def _small() -> list[FloatFormat]:
    return [fmt for fmt in formats() if fmt.has_dtype and fmt.name != "float16"]


def _pairs() -> Iterator[tuple[_Dtype, _Dtype]]:
    """Every cast that there may be a function of ours for."""
    small = _small()
    for fmt in small:
        for native in _NATIVE:
            yield native, fmt.dtype
            # bfloat16 becomes float32 by a shift, which is quick anywhere. C leaves a float beyond an
            # integer's range undefined, and what a compiler makes of it, warnings included, depends on where
            # the element stands in its array. bfloat16 and float8_e8m0fnu, whose ranges are float32's, are
            # full of such; for other bytes ml_dtypes' own answers can be looked up.
            if native in (_FLOAT16, _FLOAT64) or (fmt.bits <= 8 and (fmt.signed or native.kind in "fb")):
                yield fmt.dtype, native
    for a, b in itertools.permutations(small, 2):
        yield a.dtype, b.dtype


def _take(source: _Dtype, target: _Dtype) -> str | None:
    """Take one cast if its bits are right; why not, if not."""
    numbers = _sample(source, target)
    if numbers.size < _ENOUGH:
        numbers = np.tile(numbers, -(-_ENOUGH // numbers.size))
    right = _bits(numbers.astype(target))
    answers = None
    if source.itemsize == 1 and source.kind not in "biu":
        answers = [int(bits) for bits in right[:256]]
    _native.cast_was_called(source, target)
    _native.take_cast(source, target, answers)
    ours = _bits(numbers.astype(target))
    if not _native.cast_was_called(source, target):
        _native.give_back_cast(source, target)
        return "this NumPy keeps the function it found first; call rk.accelerate() right after the imports"
    wrong = np.flatnonzero(ours != right)
    if not wrong.size:
        # One at a time, which is another way.
        ours = _bits(np.repeat(numbers, 2)[::2].astype(target))
        wrong = np.flatnonzero(ours != right)
    if wrong.size:
        _native.give_back_cast(source, target)
        first = numbers[wrong[0]]
        return f"this ml_dtypes gives other bits, for {first!r} first"
    return None


@functools.cache
def _keep_answers(target: _Dtype) -> None:
    """Keep what numbers of 16 bits become in a dtype of 8, by which few elements are cast."""
    codes = np.arange(1 << 16, dtype=np.uint16)
    bfloat16 = codes.view(as_format("bfloat16").dtype).astype(target)
    _native.keep_answers(target, bfloat16.tobytes(), codes.view(_FLOAT16).astype(target).tobytes())


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    return array.view(f"u{array.itemsize}")


def _sample(source: _Dtype, target: _Dtype) -> NDArray[Any]:
    """Return numbers of the source to judge a cast by: all, if they are few."""
    if source.itemsize <= 2:
        return np.arange(1 << 8 * source.itemsize, dtype=f"u{source.itemsize}").view(source)
    if source.kind in "iu":
        return _integers(source)
    return _floats(source, target)


@functools.cache
def _integers(dtype: _Dtype) -> NDArray[Any]:
    """Return what lies about powers of two and halfway between them, and the ends."""
    bits = 8 * dtype.itemsize - (dtype.kind == "i")
    powers = np.array([1 << k for k in range(bits)], object)
    steps = np.array([0, 1, -1], object)
    halves = (powers[:, None] + (powers[:, None] >> np.arange(1, 28).astype(object))).ravel()
    numbers = (halves[:, None] + steps).ravel()
    numbers = np.concatenate([numbers, -numbers, [0, (1 << bits) - 1]])
    info = np.iinfo(dtype)
    kept = [int(n) for n in numbers if info.min <= n <= info.max]
    return np.array(sorted({*kept, int(info.min)}), dtype)


def _floats(dtype: _Dtype, target: _Dtype) -> NDArray[Any]:
    """Return the target's numbers and ties with both neighbours of each, and every kind of special value."""
    codes = np.arange(1 << 8 * target.itemsize, dtype=f"u{target.itemsize}").view(target)
    values = codes.astype(dtype)
    finite = np.unique(values[np.isfinite(values)])
    beyond = finite[-1] + (finite[-1] - finite[-2])
    finite = np.concatenate([[-beyond], finite, [beyond]])
    ties = finite[:-1] + (finite[1:] - finite[:-1]) / 2
    near = np.concatenate([finite, ties, np.float32(finite).astype(dtype)])
    info = np.finfo(dtype)
    edges = np.array([info.max, info.tiny, info.smallest_subnormal, np.inf, np.nan, 0.0], dtype)
    special = np.concatenate([edges, -edges])
    near = np.concatenate([near, np.nextafter(near, np.inf), np.nextafter(near, -np.inf), special])
    # NaNs of every sign and kind have no names.
    integer = f"u{dtype.itemsize}"
    nan = np.array([np.inf], dtype).view(integer)[0]
    sign = np.array([-0.0], dtype).view(integer)[0]
    payloads = nan | (np.ones((), integer) << np.arange(info.nmant, dtype=integer))
    nans = np.concatenate([payloads, payloads | sign]).astype(integer).view(dtype)
    spread = np.arange(1 << 12, dtype=integer) * np.array(
        0x9E3779B97F4A7C15 >> (64 - 8 * dtype.itemsize), integer
    )
    return np.concatenate([near.astype(dtype), nans, spread.view(dtype)])
