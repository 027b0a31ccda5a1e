"""Proof on this CPU that conversion gives the right bits: which checks there are, and what each found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ramekin import _native
from ramekin.formats import FloatFormat

__all__ = ["Check", "Plan"]

_INPUTS = 1 << 32

# Inputs per call of the core: some tens of milliseconds, after which a bar moves and Ctrl-C is heard.
_STEP = 1 << 26

_OVERFLOW_MODES = (False, True)

#: Inputs tried, wrong answers, and the first of those as bits: input, answer, right answer.
_Found: TypeAlias = "tuple[int, int, tuple[int, int, int] | None]"


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes
    ----------
    format : str
        The format.
    function : str
        "encode", "round_to" or "decode".
    rounding : str or None
        The direction; None for decode, which does not round.
    saturate : bool or None
        The overflow mode; None for decode.
    isa : str
        The instruction-set level.
    exhaustive : bool
        Whether every input there is was tried. Decode always tries every code.
    checked, wrong : int
        How many inputs were tried, and for how many the answer was wrong.
    seconds : float
        How long it took.
    counterexample : dict of str to str, or None
        The first input that went wrong, "input", with its "got" and "expected", as hexadecimal bits: codes
        or float32; decode's answers as the float64 of their value.
    """

    format: str
    function: str
    rounding: str | None
    saturate: bool | None
    isa: str
    exhaustive: bool
    checked: int
    wrong: int
    seconds: float
    counterexample: dict[str, str] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to check. Both overflow modes always are.

    Attributes
    ----------
    formats : sequence of FloatFormat
        Not float32, which is what is converted from.
    roundings : sequence of str
        Deterministic ones.
    levels : sequence of str
        Instruction-set levels of this CPU.
    exhaustive : bool
        Whether to encode all 2^32 float32, or those around every boundary and a sample; `round_to` is checked
        with the latter only.
    """

    formats: Sequence[FloatFormat]
    roundings: Sequence[str]
    levels: Sequence[str]
    exhaustive: bool

    @property
    def steps(self) -> int:
        """How often the checks of all formats report progress."""
        steps_of_mode = _INPUTS // _STEP if self.exhaustive else 2
        modes = len(self.roundings) * len(_OVERFLOW_MODES)
        return len(self.formats) * len(self.levels) * (modes * steps_of_mode + 1)

    def checks(self, fmt: FloatFormat, advance: Callable[[str], None]) -> Iterator[Check]:
        """Check one format.

        Parameters
        ----------
        fmt : FloatFormat
        advance : callable
            Called after each step with what it was about.

        Yields
        ------
        Check
            Decoding on every level, then each direction, overflow mode and level.
        """
        for isa in self.levels:
            began = time.perf_counter()
            found = _native.check_decode(fmt, isa)
            advance(isa)
            yield _check(fmt, "decode", None, None, isa, True, found, began)
        for rounding in self.roundings:
            for saturate in _OVERFLOW_MODES:
                # Its boundaries hold for every level.
                proof = _native.Proof(fmt, rounding, saturate)
                for isa in self.levels:
                    yield from self._checks_of_mode(fmt, proof, rounding, saturate, isa, advance)

    def _checks_of_mode(
        self,
        fmt: FloatFormat,
        proof: _native.Proof,
        rounding: str,
        saturate: bool,
        isa: str,
        advance: Callable[[str], None],
    ) -> Iterator[Check]:
        doing = f"{rounding} {isa}"
        began = time.perf_counter()
        if self.exhaustive:
            found: _Found = (0, 0, None)
            # Ascending, so that the first counterexample is the lowest.
            for start in range(0, _INPUTS, _STEP):
                more, wrong, first = proof.sweep(isa, start, start + _STEP)
                found = found[0] + more, found[1] + wrong, found[2] or first
                advance(doing)
            yield _check(fmt, "encode", rounding, saturate, isa, True, found, began)
            return
        found = proof.check_encode(isa)
        advance(doing)
        yield _check(fmt, "encode", rounding, saturate, isa, False, found, began)
        began = time.perf_counter()
        found = proof.check_round_to(isa)
        advance(doing)
        yield _check(fmt, "round_to", rounding, saturate, isa, False, found, began)


def _check(
    fmt: FloatFormat,
    function: str,
    rounding: str | None,
    saturate: bool | None,
    isa: str,
    exhaustive: bool,
    found: _Found,
    began: float,
) -> Check:
    checked, wrong, first = found
    code = (fmt.bits + 3) // 4  # hexadecimal digits
    widths = {"encode": (8, code), "round_to": (8, 8), "decode": (code, 16)}
    of_input, of_answer = widths[function]
    example = first and {
        "input": f"0x{first[0]:0{of_input}x}",
        "got": f"0x{first[1]:0{of_answer}x}",
        "expected": f"0x{first[2]:0{of_answer}x}",
    }
    seconds = time.perf_counter() - began
    return Check(fmt.name, function, rounding, saturate, isa, exhaustive, checked, wrong, seconds, example)
