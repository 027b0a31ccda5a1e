"""The cheapest format and scaling for each tensor that meets a target, as a plan for a conversion."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike

from ramekin import io
from ramekin.checkpoint.plan import Plan
from ramekin.checkpoint.rule import Rule, is_floating
from ramekin.exploration import Analysis, Candidate, analyze
from ramekin.quantized import QuantizedArray
from ramekin.storage import load

__all__ = ["Recommendation", "Recommended", "recommend"]

_TARGETS = ("sqnr_db", "max_rel", "nbytes")


@dataclass(frozen=True, slots=True)
class Recommended:
    """What is recommended for a tensor.

    Attributes
    ----------
    name : str
    candidate : Candidate or None
        None to keep it.
    nbytes : int
        Of it then.
    noise : float
        ``sum((y - x)**2) / sum(x**2)``; 0 if it is kept.
    reason : str
        Why.
    """

    name: str
    candidate: Candidate | None
    nbytes: int
    noise: float
    reason: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What is recommended for the tensors of a file.

    Attributes
    ----------
    tensors : list of Recommended
    nbytes : int
        Of all tensors of the file then, those that are no floats included.
    error : float
        The sum of each tensor's noise times its number of elements, which a budget of bytes makes small.
    """

    tensors: list[Recommended]
    nbytes: int
    error: float

    @property
    def plan(self) -> Plan:
        """What :func:`~ramekin.convert_checkpoint` takes."""
        return Plan({one.name: None if one.candidate is None else one.candidate.rule for one in self.tensors})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a file; OSError if it cannot be written."""
        io.write_text(path, json.dumps(self.plan.to_json(), indent=2, ensure_ascii=False) + "\n")


@dataclass(frozen=True, slots=True)
class _Option:
    """A way to store a tensor: by a candidate, or as it is."""

    candidate: Candidate | None
    nbytes: int
    noise: float
    max_rel: float

    @property
    def label(self) -> str:
        return "as it is" if self.candidate is None else str(self.candidate.rule)


def recommend(
    x: ArrayLike | QuantizedArray | str | os.PathLike[str],
    target: Mapping[str, float],
    formats: Sequence[str | Rule] | None = None,
) -> Recommendation:
    """Choose a format and scaling for each tensor.

    Candidates by which finite elements would become infinite or NaN are not considered; what saturates counts
    with its error. To keep a tensor as it is is always considered.

    Parameters
    ----------
    x : array_like, QuantizedArray or path-like
        A tensor, which is called "x", or what :func:`~ramekin.load` takes.
    target : mapping of str to float
        One of: ``{"sqnr_db": 30}``, the least ratio of signal to noise of each tensor;
        ``{"max_rel": 0.1}``, the largest relative error of an element (1 where one becomes zero);
        ``{"nbytes": 1_000_000}``, for all tensors together.
    formats : sequence of str or Rule, optional
        The candidates, as of :func:`~ramekin.analyze`.

    Returns
    -------
    Recommendation
        For the first two targets the smallest that meets them, of several the one with less noise. For a
        budget, an assignment whose error is not larger than that of any single candidate for all tensors that
        fits: found by going on from the best of those, and from the smallest of everything, always to the
        larger form that takes away most error for its bytes.

    Raises
    ------
    OSError
        If a file cannot be read.
    TypeError
        If the tensor is no array of real floats.
    ValueError
        If the target or a candidate is not known, a file is not valid, or the budget is too small.
    """
    if len(target) != 1 or next(iter(target)) not in _TARGETS:
        raise ValueError(f"target is {dict(target)}; accepted: one of {', '.join(_TARGETS)} and a number")
    ((kind, limit),) = target.items()
    if math.isnan(limit):
        raise ValueError(f"target {kind} is {limit}; accepted: a number")
    analyses: list[Analysis] = []
    fixed = 0
    if isinstance(x, (str, os.PathLike)):
        tensors = load(x)
        for name in tensors:
            info = tensors.info(name)
            if info.scheme is not None or is_floating(info.dtype):
                analyses.append(analyze(tensors[name], formats, name=name))
                tensors.release(name)
            else:
                fixed += info.nbytes
    else:
        analyses.append(analyze(x, formats, name="x"))
    options = [_options(analysis) for analysis in analyses]
    if kind == "nbytes":
        chosen = _within(options, [analysis.size for analysis in analyses], limit - fixed, fixed)
        reasons = [f"{option.label}, within {limit:,.0f} bytes in all" for option in chosen]
    else:
        chosen, reasons = [], []
        for own in options:
            option, reason = _cheapest(own, kind, limit)
            chosen.append(option)
            reasons.append(reason)
    found = [
        Recommended(analysis.name, option.candidate, option.nbytes, option.noise, reason)
        for analysis, option, reason in zip(analyses, chosen, reasons, strict=True)
    ]
    error = math.fsum(one.noise * analysis.size for one, analysis in zip(found, analyses, strict=True))
    return Recommendation(found, fixed + sum(one.nbytes for one in found), error)


def _options(analysis: Analysis) -> list[_Option]:
    """Return what can be done with a tensor, the smallest first; it is kept rather than changed in vain."""
    options = [_Option(None, analysis.nbytes, 0.0, 0.0)]
    for candidate in analysis.candidates:
        stats = candidate.stats
        if candidate.lost or stats.sqnr_db == -math.inf:
            continue
        is_measured = not math.isnan(stats.sqnr_db)
        noise = 10.0 ** (-stats.sqnr_db / 10) if is_measured else 0.0
        options.append(_Option(candidate, candidate.nbytes, noise, stats.max_rel if is_measured else 0.0))
    return sorted(options, key=lambda option: (option.nbytes, option.noise, option.candidate is not None))


def _cheapest(options: Sequence[_Option], kind: str, limit: float) -> tuple[_Option, str]:
    """Return the first option that meets a target, and why it is that one."""

    def meets(option: _Option) -> bool:
        if kind == "max_rel":
            return option.max_rel <= limit
        return option.candidate is None or option.candidate.stats.sqnr_db >= limit or option.noise == 0.0

    def shown(option: _Option) -> str:
        if option.candidate is None or option.noise == 0.0:
            return f"{option.label} is exact"
        if kind == "max_rel":
            return f"{option.label} has a relative error of {option.max_rel:.3g}"
        return f"{option.label} has {option.candidate.stats.sqnr_db:.2f} dB"

    place = next((at for at, option in enumerate(options) if meets(option)), None)
    if place is None:
        raise ValueError(f"target {kind} is {limit}; accepted: a number that exact tensors meet")
    reason = shown(options[place])
    smaller = [option for option in options[:place] if option.nbytes < options[place].nbytes]
    if smaller:
        reason += f"; of the smaller ones {shown(min(smaller, key=_error_of(kind)))}"
    return options[place], reason


def _error_of(kind: str) -> Callable[[_Option], float]:
    return lambda option: option.max_rel if kind == "max_rel" else option.noise


def _within(
    options: Sequence[Sequence[_Option]], sizes: Sequence[int], budget: float, fixed: int
) -> list[_Option]:
    """Return the options that fit a budget with the least error that is found."""
    smallest = [own[0] for own in options]
    least = sum(option.nbytes for option in smallest)
    if not least <= budget:
        raise ValueError(f"target nbytes is {budget + fixed:,.0f}; accepted: at least {least + fixed:,}")
    starts = [smallest]
    labels = dict.fromkeys(option.label for own in options for option in own)
    for label in labels:
        uniform = [next((option for option in own if option.label == label), None) for own in options]
        # A tensor that cannot have the format is kept, as a conversion to it would.
        whole = [
            option or next(kept for kept in own if kept.candidate is None)
            for option, own in zip(uniform, options, strict=True)
        ]
        if sum(option.nbytes for option in whole) <= budget:
            starts.append(whole)
    improved = [_improved(start, options, sizes, budget) for start in starts]
    return min(improved, key=lambda chosen: _error(chosen, sizes))


def _error(chosen: Sequence[_Option], sizes: Sequence[int]) -> float:
    return math.fsum(option.noise * size for option, size in zip(chosen, sizes, strict=True))


def _improved(
    start: Sequence[_Option], options: Sequence[Sequence[_Option]], sizes: Sequence[int], budget: float
) -> list[_Option]:
    """Replace options by better ones, those first that take away most error for their bytes."""
    chosen = list(start)
    left = budget - sum(option.nbytes for option in chosen)
    while True:
        best: tuple[float, int, _Option] | None = None
        for at, own in enumerate(options):
            for option in own:
                more = option.nbytes - chosen[at].nbytes
                gain = (chosen[at].noise - option.noise) * sizes[at]
                if more > left or not gain > 0:
                    continue
                worth = math.inf if more <= 0 else gain / more
                if best is None or worth > best[0]:
                    best = worth, at, option
        if best is None:
            return chosen
        _, at, option = best
        left -= option.nbytes - chosen[at].nbytes
        chosen[at] = option
