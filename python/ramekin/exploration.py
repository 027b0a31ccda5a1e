"""What formats would make of a tensor: where its exponents lie, and what each candidate loses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import ArrayLike

from ramekin._types import AnyArray
from ramekin.analysis import NOTHING, ErrorStats, Totals, added, stats_of
from ramekin.checkpoint.cutting import Rows, cuts, part_of, shares_amax, usable, whole_of
from ramekin.checkpoint.rule import Rule, is_floating, make_rule
from ramekin.checkpoint.transform import convert_piece, lost_elements
from ramekin.convert import real_numbers
from ramekin.exponents import Exponents, Histogram, exponents
from ramekin.quantized import QuantizedArray
from ramekin.storage.scheme import make_scheme, taken_apart

__all__ = ["Analysis", "Candidate", "Histogram", "analyze", "candidates", "default_candidates"]

_DEFAULT = (
    "bfloat16", "float16", "float8_e4m3fn", "float8_e4m3fn:tensor", "float8_e4m3fn:row", "float8_e5m2",
    "float8_e5m2:tensor", "mxfp8_e4m3", "mxint8", "mxfp6_e2m3", "mxfp4", "nvfp4",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a format and scaling would make of a tensor.

    Attributes
    ----------
    rule : Rule
        Format, scaling and rounding.
    nbytes : int
        Of codes and scales.
    stats : ErrorStats
    lost : int
        Finite elements that would become infinite or NaN.
    """

    rule: Rule
    nbytes: int
    stats: ErrorStats
    lost: int

    def to_json(self) -> dict[str, Any]:
        """Return the attributes; numbers that JSON does not have are text."""
        stats = {
            key: value if math.isfinite(value) else str(value) for key, value in asdict(self.stats).items()
        }
        return self.rule.to_json() | {"nbytes": self.nbytes, "stats": stats, "lost": self.lost}


@dataclass(frozen=True, slots=True)
class Analysis:
    """What was found of a tensor.

    Attributes
    ----------
    name : str
    dtype : str
        Its dtype, or the format of a quantised one.
    shape : tuple of int
    size, nbytes : int
    smallest, largest : float
        The smallest and the largest finite magnitude but 0; NaN if there is none.
    histogram : Histogram
    candidates : list of Candidate
        In the order in which they were asked for, without those whose blocks need more dimensions.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    nbytes: int
    smallest: float
    largest: float
    histogram: Histogram
    candidates: list[Candidate]

    def to_json(self) -> dict[str, Any]:
        """Return the attributes; numbers that JSON does not have are null."""
        own = {key: getattr(self, key) for key in ("name", "dtype", "size", "nbytes")}
        bounds = {
            key: value if math.isfinite(value) else None
            for key, value in (("smallest", self.smallest), ("largest", self.largest))
        }
        histogram = asdict(self.histogram) | {"counts": list(self.histogram.counts)}
        found = [candidate.to_json() for candidate in self.candidates]
        return own | bounds | {"shape": list(self.shape), "histogram": histogram, "candidates": found}


def default_candidates() -> list[Rule]:
    """Return the candidates that are tried where none are named."""
    return candidates(_DEFAULT)


def candidates(names: Sequence[str]) -> list[Rule]:
    """Look candidates up: formats, with a colon and a scaling where it is not their own.

    Raises
    ------
    ValueError
        If a format or scaling is not known, or they do not go together.
    """
    rules = []
    for name in names:
        fmt, _, scaling = name.partition(":")
        rules.append(make_rule(fmt, scaling or None))
    return rules


def analyze(
    x: ArrayLike | QuantizedArray, formats: Sequence[str | Rule] | None = None, *, name: str = ""
) -> Analysis:
    """Measure what formats would make of an array.

    Parameters
    ----------
    x : array_like or QuantizedArray
        Real floats of any format; a quantised array is taken at its float32 values.
    formats : sequence of str or Rule, optional
        Candidates as ``"mxfp4"``, ``"float8_e4m3fn"`` (rounded element by element) or with a scaling of
        :func:`~ramekin.convert_checkpoint`: ``"float8_e4m3fn:row"``, ``"float8_e4m3fn:block:128"``.
    name : str
        What to call it.

    Returns
    -------
    Analysis
        Its exponents, and the size and error of each candidate: those of :func:`~ramekin.cast` or
        :func:`~ramekin.quantize`.

    Raises
    ------
    TypeError
        If `x` is no array of real floats.
    ValueError
        If a candidate is not known.
    """
    rules = [
        rule
        for given in (_DEFAULT if formats is None else formats)
        for rule in ([given] if isinstance(given, Rule) else candidates([given]))
    ]
    array: AnyArray = x.dequantize() if isinstance(x, QuantizedArray) else real_numbers(x, "analyze")
    if not is_floating(array.dtype):
        raise TypeError(f"analyze: x is {array.dtype}; accepted: real floats")
    found = exponents(array)
    amax = amax_from(found)
    tried = []
    for rule in fitting(rules, array.shape):
        measured = [errors(array, rule, rows, amax) for rows in pieces_of(array.shape, rule, amax)]
        tried.append(candidate(rule, array.shape, measured))
    own = x if isinstance(x, QuantizedArray) else array
    kind = str(own.format) if isinstance(own, QuantizedArray) else str(own.dtype)
    return analysis(name, kind, own.nbytes, own.shape, found, tried)


def analysis(
    name: str,
    dtype: str,
    nbytes: int,
    shape: tuple[int, ...],
    found: Exponents,
    tried: list[Candidate],
) -> Analysis:
    """Put together what was found of a tensor."""
    histogram, smallest, largest = found
    return Analysis(name, dtype, shape, math.prod(shape), nbytes, smallest, largest, histogram, tried)


def fitting(rules: Sequence[Rule], shape: tuple[int, ...]) -> list[Rule]:
    """Return the rules that a tensor of a shape has dimensions enough for."""

    def fits(rule: Rule) -> bool:
        if rule.is_scaled:
            try:
                rule.layout(shape)
            except ValueError:
                return False
        return True

    return [rule for rule in rules if fits(rule)]


def amax_from(found: Exponents) -> float:
    """Return the largest magnitude of a tensor; infinite if a number is not finite."""
    histogram, _, largest = found
    if histogram.infinities or histogram.nans:
        return math.inf
    return 0.0 if math.isnan(largest) else largest


def pieces_of(shape: tuple[int, ...], rule: Rule, amax: float) -> list[Rows]:
    """Return the rows that are measured together, as they are converted together."""
    if shares_amax(shape, None, rule) and usable(amax, rule) is None:
        return [whole_of(shape)]
    return cuts(shape, None, rule)


def errors(x: AnyArray, rule: Rule, rows: Rows, amax: float) -> tuple[Totals, int]:
    """Convert some rows of a tensor of that largest magnitude, and return their errors and lost elements."""
    shared = usable(amax, rule) if shares_amax(x.shape, None, rule) else None
    piece = convert_piece(part_of(x, rows), rule, rows, shared)
    return piece.totals, lost_elements(piece.x, piece.y, stats_of(piece.totals))


def candidate(rule: Rule, shape: tuple[int, ...], measured: Iterable[tuple[Totals, int]]) -> Candidate:
    """Put together what was measured of all rows, in their order."""
    totals, lost = NOTHING, 0
    for own, own_lost in measured:
        totals, lost = added(totals, own), lost + own_lost
    return Candidate(rule, _nbytes(shape, rule), stats_of(totals), lost)


def _nbytes(shape: tuple[int, ...], rule: Rule) -> int:
    """Return how many bytes a result takes in a file; codes of fewer than 8 bits are packed there."""
    if rule.is_scaled:
        parts = taken_apart("x", make_scheme("x", rule.format, rule.layout(shape)), list)
        return sum(part.size * part.dtype.itemsize for part in parts.values())
    size, bits = math.prod(shape), rule.format.bits
    is_packed = bits < 8 and len(shape) > 0 and shape[-1] * bits % 8 == 0
    return size * bits // 8 if is_packed else size * -(-bits // 8)
