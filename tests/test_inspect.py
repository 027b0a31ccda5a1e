"""`rk.inspect` against rational arithmetic: what is stored, what happened, and what lies beside it."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from html.parser import HTMLParser

import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given

import ramekin as rk
from ramekin.inspection import Neighbour

MODES = ["ties-to-even", "ties-to-away", "toward-zero", "toward-positive", "toward-negative", "to-odd"]
P3109 = [
    (8, 3, True, True),
    (8, 3, True, False),
    (6, 2, False, True),
    (5, 1, True, True),
    (3, 2, False, False),
]
NAMED = [
    *(fmt for fmt in rk.formats() if fmt.bits <= 8),
    *(rk.p3109(k, p, signed=s, extended=e) for k, p, s, e in P3109),
]
FORMATS = [
    *NAMED,
    rk.FloatFormat("e1m1", exponent_bits=1, mantissa_bits=1, has_infinity=False, high_nans=1),
    rk.FloatFormat("e5m2ieee", exponent_bits=5, mantissa_bits=2, bias=3),
]


def value_by_fields(fmt, magnitude):
    """The number of a code without its sign, by the definition in docs/numerics.md."""
    exponent, mantissa = divmod(magnitude, 1 << fmt.mantissa_bits)
    if exponent == 0 and fmt.has_zero:
        return Fraction(mantissa, 1 << fmt.mantissa_bits) * Fraction(2) ** (1 - fmt.bias)
    return (1 + Fraction(mantissa, 1 << fmt.mantissa_bits)) * Fraction(2) ** (exponent - fmt.bias)


def rounds_up(place, code, negative, rounding, fmt):
    """Whether a number at `place` in the gap above `code` goes to its far end, away from zero."""
    if place == 0:
        return False
    nearest = place > Fraction(1, 2)
    if fmt.name == "float8_e8m0fnu" and rounding == "ties-to-even":
        return place >= Fraction(1, 2)  # as in ml_dtypes
    return {
        "ties-to-even": nearest or (place == Fraction(1, 2) and code % 2 == 1),
        "ties-to-away": place >= Fraction(1, 2),
        "toward-zero": False,
        "toward-positive": not negative,
        "toward-negative": negative,
        "to-odd": code % 2 == 0,
    }[rounding]


def expected(number, fmt, rounding, saturate):
    """Value and outcome of a Fraction."""
    negative, magnitude = number < 0, abs(number)
    if negative and not fmt.signed:
        return math.nan if fmt.has_nan else 0.0, "invalid"
    sign = -1 if negative else 1
    if magnitude < value_by_fields(fmt, 0):
        return float(value_by_fields(fmt, 0)), "underflow"
    low = 0
    while value_by_fields(fmt, low + 1) <= magnitude:  # past the last number, as if there were more
        low += 1
    gap = value_by_fields(fmt, low + 1) - value_by_fields(fmt, low)
    place = (magnitude - value_by_fields(fmt, low)) / gap
    up = rounds_up(place, low, negative, rounding, fmt)
    if low + up > fmt.max_code:
        toward_zero = rounding in (
            "toward-zero",
            "to-odd",
            "toward-positive" if negative else "toward-negative",
        )
        if saturate or toward_zero or not (fmt.has_infinity or fmt.has_nan):
            return sign * fmt.max, "overflow"
        return (sign * math.inf if fmt.has_infinity else math.nan), "overflow"
    stored = value_by_fields(fmt, low + up)
    outcome = "exact" if stored == magnitude else "rounded" if stored else "underflow"
    return sign * float(stored), outcome


@st.composite
def numbers(draw, fmt):
    """Anything between two codes, the largest and the one that would follow included: ends, ties."""
    code = draw(st.integers(0, fmt.max_code) | st.just(fmt.max_code))
    low, high = (value_by_fields(fmt, code + more) for more in (0, 1))
    tiny = Fraction(1, 10**40)
    at = draw(st.sampled_from([Fraction(0), Fraction(1, 4), Fraction(1, 3), Fraction(1, 2), Fraction(2, 3)]))
    place = at + draw(st.sampled_from([-tiny, Fraction(0), tiny]))
    number = low + place * (high - low)
    number *= draw(st.sampled_from([1, 1, 1, 1, 3, Fraction(1, 1000)]))
    return draw(st.sampled_from([1, -1])) * number or Fraction(1, 10**50)


@given(fmt=st.sampled_from(FORMATS), rounding=st.sampled_from(MODES), saturate=st.booleans(), data=st.data())
def test_against_rational_arithmetic(fmt, rounding, saturate, data):
    number = data.draw(numbers(fmt))
    stored = rk.inspect(number, fmt, rounding=rounding, saturate=saturate)[0]
    value, outcome = expected(number, fmt, rounding, saturate)
    assert (stored.outcome, stored.format) == (outcome, fmt)
    assert stored.value == value or (math.isnan(stored.value) and math.isnan(value))
    if math.isfinite(value):
        assert stored.error == (Fraction(value) - number) / number
        assert stored.subnormal == (0 < abs(value) < fmt.smallest_normal)
        assert Fraction(stored.decimal) == Fraction(value)
    else:
        assert stored.error is stored.relative_error is None


@pytest.mark.parametrize("name", ["float16", "bfloat16", "tfloat32", "float32"])
@pytest.mark.parametrize("rounding", MODES)
def test_a_decimal_is_rounded_once(name, rounding):
    # Just above half-way between 1 and the next number: as a float64 it is that tie, and goes to 1.
    fmt = rk.as_format(name)
    number = 1 + Fraction(2) ** -(fmt.mantissa_bits + 1)
    text = f"{format(float(number), '.60f').rstrip('0')}{'0' * 40}1"
    assert float(text) == number < Fraction(text)
    stored = rk.inspect(text, fmt, rounding=rounding)[0]
    up = rounding not in ("toward-zero", "toward-negative")
    assert stored.value == 1.0 + (fmt.eps if up else 0.0)


@pytest.mark.parametrize("fmt", NAMED, ids=str)
def test_every_code_is_exact_in_its_own_format_and_has_its_neighbours(fmt):
    inspections = [rk.inspect(f"{code:#x}:{fmt}", fmt)[0] for code in range(1 << fmt.bits)]
    order = sorted({stored.value for stored in inspections if not math.isnan(stored.value)})
    for code, stored in enumerate(inspections):
        assert (stored.outcome, stored.code) == ("exact", code)
        assert int("".join(stored.fields), 2) == code
        assert [len(part) for part in stored.fields] == [fmt.signed, fmt.exponent_bits, fmt.mantissa_bits]
        if math.isnan(stored.value):
            assert stored.below is stored.above is None
            continue
        place = order.index(stored.value)
        for beside, expected_place in ((stored.below, place - 1), (stored.above, place + 1)):
            if not 0 <= expected_place < len(order):
                assert beside is None
                continue
            assert beside.value == order[expected_place]
            assert rk.decode(np.array(beside.code, fmt.code_dtype), fmt, dtype=np.float64) == beside.value


@pytest.mark.parametrize(
    ("value", "name", "stored", "outcome"),
    [
        ("inf", "float16", math.inf, "exact"),
        ("-inf", "float8_e4m3fn", math.nan, "overflow"),
        ("inf", "float4_e2m1fn", 6.0, "overflow"),
        ("-inf", "float8_e8m0fnu", math.nan, "invalid"),
        ("nan", "float8_e5m2", math.nan, "exact"),
        ("nan", "float6_e2m3fn", -0.0, "invalid"),
        ("0", "float8_e8m0fnu", math.nan, "invalid"),
        ("-0", "float16", -0.0, "exact"),
        ("-0", "float8_e4m3fnuz", 0.0, "exact"),
        ("-1", "float8_e8m0fnu", math.nan, "invalid"),
        ("1e-3000", "float8_e8m0fnu", 2.0**-127, "underflow"),
        ("1e3000", "bfloat16", math.inf, "overflow"),
        ("464", "float8_e4m3fn", 448.0, "rounded"),  # a tie, whose even end is 448
        ("464.0000000000000000000000000001", "float8_e4m3fn", math.nan, "overflow"),
        ("0x7f:float8_e4m3fn", "float16", math.nan, "exact"),
        ("0x7c01:float16", "float8_e4m3fn", math.nan, "exact"),
    ],
)
def test_specials(value, name, stored, outcome):
    got = rk.inspect(value, name)[0]
    assert got.outcome == outcome
    assert np.float64(got.value).tobytes() == np.float64(stored).tobytes() or math.isnan(stored)
    assert math.isnan(got.value) == math.isnan(stored)


def test_a_nan_keeps_its_code_in_its_own_format_only():
    got = rk.inspect("0x7d01:float16", ["float16", "bfloat16"])
    assert (got["float16"].code, got["bfloat16"].code) == (0x7D01, 0x7FC0)


def test_error_beyond_float64_is_infinite():
    stored = rk.inspect("1e-3000", "float8_e8m0fnu")[0]
    assert stored.relative_error == math.inf
    assert rk.inspect("-1e-3000", "float16", rounding="toward-negative")[0].relative_error == math.inf
    assert rk.inspect("0", "float16")[0].relative_error == 0.0


def test_all_formats_are_the_default_and_the_codes_own_comes_first():
    assert [stored.format for stored in rk.inspect(1)] == rk.formats()
    with_own = rk.inspect("1:p3109_k4p2se")
    assert [str(stored.format) for stored in with_own][:2] == ["p3109_k4p2se", "tfloat32"]
    assert len(rk.inspect(ml_dtypes.bfloat16(1))) == len(rk.formats())


def test_a_sequence_of_what_was_asked():
    got = rk.inspect(0.3, [rk.float16, "float8_e5m2", ml_dtypes.bfloat16, "float16"], saturate=True)
    assert len(got) == 3
    assert got[-1] is got["bfloat16"] is list(got)[2]
    assert (got.rounding, got.saturate, got.text) == ("ties-to-even", True, "0.3")
    assert got.value == Fraction(0.3)
    assert got["float16"].above == Neighbour(0x34CE, 0.30029296875)
    with pytest.raises(KeyError, match="float8_e3m4; there are float16, float8_e5m2, bfloat16"):
        got["float8_e3m4"]


def test_stochastic_rounding_goes_by_its_seed():
    seen = {rk.inspect("5", "float4_e2m1fn", rounding="stochastic", seed=seed)[0].value for seed in range(40)}
    assert seen == {4.0, 6.0}
    for seed in range(20):
        stored = rk.inspect("0.3", "float8_e4m3fn", rounding="stochastic", seed=seed)[0]
        assert stored.code == rk.encode(0.3, "float8_e4m3fn", rounding="stochastic", seed=seed)
    assert {rk.inspect("5", "float4_e2m1fn", rounding="stochastic")[0].value for _ in range(60)} == {4.0, 6.0}


def test_stochastic_overflow_is_told_from_rounding_down():
    # Half-way between 6 and the 8 that would follow: saturation gives 6 either way.
    seen = {}
    for seed in range(40):
        stored = rk.inspect("7", "float4_e2m1fn", rounding="stochastic", seed=seed)[0]
        inside = rk.inspect("2.5", "float4_e2m1fn", rounding="stochastic", seed=seed)[0]
        assert stored.value == 6.0
        seen.setdefault(stored.outcome, set()).add(inside.value)
    assert seen == {"rounded": {2.0}, "overflow": {3.0}}


@pytest.mark.parametrize(
    ("arguments", "options", "error", "said"),
    [
        (("x",), {}, ValueError, "'x' is no number; accepted"),
        ((None,), {}, TypeError, "a number is a str"),
        ((1, "float9"), {}, ValueError, "unknown format 'float9'"),
        ((1, [np.int8]), {}, TypeError, "int8 is no float format"),
        ((1,), {"rounding": "up"}, ValueError, 'unknown rounding "up"'),
        (("0x3c:float8_e5m2", "float8_e5m2"), {"rounding": "up"}, ValueError, 'unknown rounding "up"'),
        ((1,), {"seed": -1}, ValueError, "seed -1"),
    ],
)
def test_refused(arguments, options, error, said):
    with pytest.raises(error, match=re.escape(said)):
        rk.inspect(*arguments, **options)


# --- how it looks ---

TABLE = """\
0.1, ties-to-even

                                           relative
 format         bits        code   stored     error  what happened          below     above
 ──────────────────────────────────────────────────────────────────────────────────────────
 float8_e5m2    0 01011 10  0x2e  0.09375   -6.25 %  rounded             0.078125  0.109375
 float6_e3m2fn  0 000 10    0x02    0.125     +25 %  rounded, subnormal    0.0625    0.1875
 float4_e2m1fn  0 00 0       0x0        0    -100 %  underflow               -0.5       0.5"""

CARD = """\
-0x1.8p-9, ties-to-even
 format            float8_e4m3fn, 8 bits
 bits              1 0000 010
 sign              1: negative
 exponent          -6 = 1 - 7, for the field is 0
 significand       0.25 = 0.010 in binary
 code              0x82
 stored            -0.00390625 = -2^-8
 relative error    +33.3 %
 what happened     rounded, subnormal
 below             -0.005859375 = -3*2^-9  0x83
 above             -0.001953125 = -2^-9  0x81"""


def test_text_of_several_formats():
    got = rk.inspect("0.1", ["float8_e5m2", "float6_e3m2fn", "float4_e2m1fn"])
    assert repr(got) == TABLE
    assert "\x1b" not in repr(got)


def test_text_of_one_format():
    assert repr(rk.inspect("-0x1.8p-9", "float8_e4m3fn")) == CARD
    specials = repr(rk.inspect("0xff:float8_e4m3fn", "float8_e4m3fn"))
    assert "0xff:float8_e4m3fn = nan, ties-to-even" in specials
    assert "significand" not in specials
    zero = repr(rk.inspect("1/3000", "float8_e8m0fnu", saturate=True))
    assert "1/3000, ties-to-even, saturating" in zero
    assert " significand       1 = 1 in binary" in zero
    assert "sign  " not in zero


class Cells(HTMLParser):
    """The cells of a table, with every tag closed in its turn."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.titles = [], [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.titles += [value for name, value in attrs if name == "title"]
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open:
            self.cells[-1] += data


def test_html_for_notebooks():
    got = rk.inspect("0.1", ["float8_e5m2", "bfloat16"])
    page = Cells()
    page.feed(got._repr_html_())
    assert page.open == []
    assert page.titles == ["0.09375", "0.10009765625"]
    assert page.cells[:8] == [
        "float8_e5m2", "0\u200901011\u200910", "0x2e", "0.09375", "-6.25 %", "rounded", "0.078125", "0.109375"
    ]  # fmt: skip
    assert not re.search(r"https?:|<script|<link|src=", got._repr_html_())
    assert "color:" not in got._repr_html_()  # text keeps the page's colour, light or dark


def test_json_is_json():
    got = rk.inspect("1e-3000", ["float8_e8m0fnu", "float4_e2m1fn"], saturate=True).to_json()
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert got["formats"][0]["relative_error"] is None
    assert rk.inspect("-inf", "float16").to_json()["number"] == "-inf"
