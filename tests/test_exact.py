"""Numbers read and written without loss."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given

import ramekin as rk
from ramekin.exact import brief_text, decimal_text, float64_by_odd, power_text, read_number

floats = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", Fraction(1, 100_000)),
        ("0.1", Fraction(1, 10)),
        (" -3e-5 ", Fraction(-3, 100_000)),
        ("+.5", Fraction(1, 2)),
        ("5.", 5),
        ("1_000", 1000),
        ("1E+2", 100),
        ("0x1.8p-3", Fraction(3, 16)),
        ("-0X.Cp1", Fraction(-3, 2)),
        ("0x10", 16),
        ("0x1.00000000000001p0", 1 + Fraction(1, 16**14)),  # more bits than float64 has
        ("1/3", Fraction(1, 3)),
        ("-22/7", Fraction(-22, 7)),
    ],
)
def test_text_is_read_exactly(text, value):
    number = read_number(text)
    assert isinstance(number.value, Fraction)
    assert number.value == value
    assert (number.text, number.format, number.code) == (text.strip(), None, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0.0), ("-0.00", -0.0), ("-0x0p4", -0.0), ("0/5", 0.0), ("0e9", 0.0),
        ("inf", math.inf), ("-Infinity", -math.inf), ("nan", math.nan), ("-NaN", -math.nan),
    ],
)  # fmt: skip
def test_what_no_ratio_holds_is_a_float(text, value):
    number = read_number(text).value
    assert isinstance(number, float)
    assert np.float64(number).tobytes() == np.float64(value).tobytes()


@given(digits=st.integers(-(10**30), 10**30).filter(bool), exponent=st.integers(-400, 400))
def test_decimals_as_fractions_reads_them(digits, exponent):
    text = f"{digits}e{exponent}"
    assert read_number(text).value == Fraction(text)
    assert read_number(Decimal(text)).value == Fraction(text)


@given(floats.filter(bool))
def test_floats_and_their_hexadecimal_form(number):
    assert read_number(number).value == read_number(number.hex()).value == Fraction(number)


@pytest.mark.parametrize(
    ("text", "name", "code", "value"),
    [
        ("0x7e:float8_e4m3fn", "float8_e4m3fn", 0x7E, 448),
        ("126:float8_e4m3fn", "float8_e4m3fn", 0x7E, 448),
        ("0b101:float4_e2m1fn", "float4_e2m1fn", 5, 3),
        ("0x3f800000:float32", "float32", 0x3F800000, 1),
        ("0x41:p3109_k8p3se", "p3109_k8p3se", 0x41, Fraction(5, 4)),
    ],
)
def test_codes(text, name, code, value):
    number = read_number(text)
    assert (number.text, str(number.format), number.code, number.value) == (text, name, code, value)
    assert isinstance(number.value, Fraction)


@pytest.mark.parametrize(
    ("scalar", "text", "value", "code"),
    [
        (ml_dtypes.bfloat16(3), "3", 3, 0x4040),
        (np.float16(0.1), "0.0999755859375", Fraction(819, 8192), 0x2E66),
        (np.array(-2, ml_dtypes.float8_e5m2), "-2", -2, 0xC0),
        (np.float64(0.1), "0.1", Fraction(0.1), None),
        (np.int8(-3), "-3", -3, None),
        (np.uint64(2**64 - 1), str(2**64 - 1), 2**64 - 1, None),
        (np.bool_(True), "1", 1, None),
        (10**20, str(10**20), 10**20, None),
        (Fraction(1, 3), "1/3", Fraction(1, 3), None),
        (0, "0", 0, None),
    ],
)
def test_scalars(scalar, text, value, code):
    number = read_number(scalar)
    assert (number.text, number.value, number.code) == (text, value, code)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is no number; accepted: a decimal"),
        ("0.1.2", "'0.1.2' is no number; accepted: a decimal (0.1, -3e-5), a hexadecimal float (0x1.8p-3), a "
         "ratio (1/3), inf, nan, or a code and its format (0x7e:float8_e4m3fn)"),
        ("1 2", "'1 2' is no number"),
        ("0x", "'0x' is no number"),
        ("0x.p3", "'0x.p3' is no number"),
        ("٣", "is no number"),
        ("1/0", "'1/0' divides by zero"),
        ("1e9999999999", "1e9999999999 is too large, small or long"),
        ("1e-3601", "accepted: what integers of 12000 bits hold"),
        ("0x1p12001", "0x1p12001 is too large"),
        ("0x1p-12000", "0x1p-12000 is too large, small or long"),
        ("1" * 3001, "a number of 3001 characters; accepted: up to 3000"),
        ("0x7e:float9", "unknown format 'float9'; accepted: tfloat32"),
        ("x:float16", "'x:float16': 'x' is no code; accepted: an integer as 126, 0x7e or 0b1111110"),
        ("0x100:float8_e5m2", "'0x100:float8_e5m2': a code of float8_e5m2 lies between 0 and 0xff"),
        ("-1:float8_e5m2", "lies between 0 and 0xff"),
    ],
)  # fmt: skip
def test_text_that_is_no_number(text, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the message is compared below
        read_number(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "number", [Fraction(2) ** 12001, Fraction(1, 2**12001), 10**5000], ids=["large", "small", "long"]
)
def test_numbers_beyond_sense(number):
    with pytest.raises(ValueError, match="the number is too large, small or long"):
        read_number(number)


@pytest.mark.parametrize("wrong", [None, 1j, [1], np.ones(2), np.complex64(1), object(), np.longdouble(1)])
def test_what_is_no_number(wrong):
    with pytest.raises(
        TypeError, match="a number is a str, int, float, Fraction, Decimal or real NumPy scalar"
    ):
        read_number(wrong)


# --- rounding to odd ---


@given(numerator=st.integers(1, 2**2400), shift=st.integers(-200, 2600), odd=st.integers(1, 10**40))
def test_to_odd_encloses_and_marks_what_is_inexact(numerator, shift, odd):
    value = Fraction(numerator, odd) / Fraction(2) ** shift
    got = float64_by_odd(value)
    assert float64_by_odd(-value) == -got
    if Fraction(got) == value:
        return
    # Inexact: the last bit is 1, and no float64 lies between.
    assert int.from_bytes(np.float64(got).tobytes(), "little") & 1
    below, above = math.nextafter(got, 0.0), math.nextafter(got, math.inf)
    assert Fraction(below) < value
    assert math.isinf(above) or value < Fraction(above)


@given(floats)
def test_to_odd_keeps_float64(number):
    assert float64_by_odd(Fraction(number)) == number
    assert math.copysign(1.0, float64_by_odd(number)) == math.copysign(1.0, number)


# --- writing ---


@given(floats)
def test_texts_are_exact(number):
    text = decimal_text(number)
    assert Fraction(text) == Fraction(number)
    assert text.startswith("-") == (math.copysign(1.0, number) < 0)
    if number:
        odd, _, exponent = power_text(number).rpartition("2^")
        odd = {"": "1", "-": "-1"}.get(odd, odd.rstrip("*"))
        assert Fraction(odd) * Fraction(2) ** int(exponent) == Fraction(number)
        assert int(odd) % 2 == 1


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.1015625, "0.1015625"), (448.0, "448"), (-0.0, "-0"), (1e15, "1000000000000000"), (1e16, "1e+16"),
        (2.0**-16, "0.0000152587890625"), (2.0**-20, "9.5367431640625e-7"), (math.inf, "inf"),
        (-math.inf, "-inf"), (math.nan, "nan"), (-math.nan, "nan"),
    ],
)  # fmt: skip
def test_decimals_for_people(number, text):
    assert decimal_text(number) == text


def test_what_is_long_is_written_as_a_power_of_two():
    assert brief_text(0.09375, 20) == "0.09375"
    assert brief_text(rk.bfloat16.smallest_subnormal, 20) == "2^-133"
    assert brief_text(-3 * 2.0**-133, 20) == "-3*2^-133"
