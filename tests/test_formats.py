"""Format objects: facts, lookup, NumPy's view of them."""

from __future__ import annotations

import pickle

import ml_dtypes
import numpy as np
import pytest

import ramekin as rk
from ramekin.formats import as_format, float32

NAMES = [
    "tfloat32",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3",
    "float8_e3m4",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "float8_e4m3b11fnuz",
    "float8_e8m0fnu",
    "float6_e2m3fn",
    "float6_e3m2fn",
    "float4_e2m1fn",
]
WITH_DTYPE = [name for name in NAMES if name != "tfloat32"]


def test_the_named_table_is_complete_and_public():
    assert [fmt.name for fmt in rk.formats()] == NAMES
    assert all(getattr(rk, name) is as_format(name) for name in NAMES)


@pytest.mark.parametrize("name", WITH_DTYPE)
def test_facts_equal_numpys_and_ml_dtypes_finfo(name):
    fmt = as_format(name)
    theirs = np.finfo(np.float16) if name == "float16" else ml_dtypes.finfo(fmt.dtype)
    ours = rk.finfo(name)
    assert ours.dtype == fmt.dtype
    assert ours.tiny == ours.smallest_normal
    for fact in (
        "bits",
        "nexp",
        "nmant",
        "max",
        "min",
        "smallest_normal",
        "smallest_subnormal",
        "eps",
        "epsneg",
        "maxexp",
        "minexp",
    ):
        assert float(getattr(ours, fact)) == float(getattr(theirs, fact)), fact


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_decimal_precision_is_counted_as_numpy_does(dtype):
    ours, theirs = rk.finfo(dtype), np.finfo(dtype)
    assert ours.precision == theirs.precision
    assert ours.resolution == pytest.approx(float(theirs.resolution), rel=1e-3)  # theirs is rounded to dtype


def test_facts_of_tfloat32():
    info = rk.finfo(rk.tfloat32)
    assert (info.bits, info.nexp, info.nmant, info.eps) == (19, 8, 10, 2.0**-10)
    assert info.max == (2 - 2.0**-10) * 2.0**127
    assert (info.smallest_normal, info.smallest_subnormal) == (2.0**-126, 2.0**-136)


@pytest.mark.parametrize(
    ("name", "infinity", "nan", "zero", "negative_zero", "signed"),
    [
        ("float16", True, True, True, True, True),
        ("float8_e4m3fn", False, True, True, True, True),
        ("float8_e5m2", True, True, True, True, True),
        ("float8_e4m3fnuz", False, True, True, False, True),
        ("float8_e8m0fnu", False, True, False, False, False),
        ("float4_e2m1fn", False, False, True, True, True),
    ],
)
def test_special_values(name, infinity, nan, zero, negative_zero, signed):
    fmt = as_format(name)
    has = (fmt.has_infinity, fmt.has_nan, fmt.has_zero, fmt.has_negative_zero, fmt.signed)
    assert has == (infinity, nan, zero, negative_zero, signed)


@pytest.mark.parametrize("name", WITH_DTYPE)
def test_numpy_takes_a_format_as_a_dtype(name):
    fmt = getattr(rk, name)
    assert np.dtype(fmt) == fmt.dtype
    assert np.zeros(3, fmt).dtype == fmt.dtype
    assert np.ones((2, 2), np.float32).astype(fmt).dtype == fmt.dtype


@pytest.mark.parametrize("name", WITH_DTYPE)
def test_lookup_by_name_dtype_and_scalar_type(name):
    fmt = as_format(name)
    assert as_format(fmt) is fmt
    assert as_format(fmt.dtype) is fmt
    assert as_format(fmt.dtype.type) is fmt
    assert pickle.loads(pickle.dumps(fmt)) is fmt
    assert name in repr(fmt)
    assert str(fmt) == name


def test_float32_is_known_but_not_small():
    assert as_format(np.float32) is float32
    assert float32.max == float(np.finfo(np.float32).max)
    assert float32 not in rk.formats()


def test_refuses_unknown_names():
    with pytest.raises(ValueError, match=r"unknown format 'float9'; accepted: .*float8_e4m3fn"):
        rk.finfo("float9")


@pytest.mark.parametrize("wrong", [np.float64, np.int8, np.dtype("c8"), object, None, 3.5, [1]])
def test_refuses_what_is_no_float_format(wrong):
    with pytest.raises(TypeError, match="float8_e4m3fn"):
        as_format(wrong)


def test_tfloat32_has_no_dtype_and_says_what_to_use():
    with pytest.raises(TypeError, match="round_to"):
        np.dtype(rk.tfloat32)
    with pytest.raises(TypeError, match="round_to"):
        rk.cast([1.0], rk.tfloat32)


def custom(**numbers):
    return rk.FloatFormat("e4m6", **{"exponent_bits": 4, "mantissa_bits": 6, **numbers})


def test_a_format_made_from_numbers():
    fmt = custom()
    assert (fmt.name, fmt.bits, fmt.bias, fmt.has_infinity, fmt.has_nan) == ("e4m6", 11, 7, True, True)
    assert fmt.max == (2 - 2.0**-6) * 2.0**7
    assert (fmt.smallest_normal, fmt.smallest_subnormal, fmt.eps) == (2.0**-6, 2.0**-12, 2.0**-6)
    assert not fmt.has_dtype
    assert pickle.loads(pickle.dumps(fmt)) == fmt == custom()
    assert hash(fmt) == hash(custom())
    assert fmt != custom(bias=8)
    assert rk.finfo(fmt).nmant == 6
    finite = custom(has_infinity=False)
    assert (finite.has_nan, finite.max) == (False, (2 - 2.0**-6) * 2.0**8)
    assert custom(has_negative_zero=False, has_infinity=False).has_nan


@pytest.mark.parametrize(
    "numbers",
    [
        {"exponent_bits": 0},
        {"exponent_bits": 10},
        {"exponent_bits": -1},
        {"mantissa_bits": 12},
        {"mantissa_bits": 1 << 40},
        {"bias": -1},
        {"bias": 1024},
        {"high_nans": 1 << 10},
        {"high_nans": -1},
        {"exponent_bits": 11, "mantissa_bits": 4, "bias": 0},
    ],
)
def test_numbers_that_make_no_format(numbers):
    with pytest.raises(ValueError, match="e4m6"):
        custom(**numbers)


def test_numbers_of_a_wrong_type():
    with pytest.raises(TypeError):
        custom(exponent_bits=4.5)
    with pytest.raises(TypeError):
        rk.FloatFormat("e4m6")


def test_p3109_names_and_facts():
    fmt = rk.p3109(8, 3)
    assert (fmt.name, fmt.bias, fmt.has_infinity, fmt.has_negative_zero) == ("p3109_k8p3se", 16, True, False)
    assert rk.p3109(8, 3, extended=False).max == 57344.0
    assert fmt.max == 49152.0
    unsigned = rk.p3109(8, 3, signed=False)
    assert (unsigned.signed, unsigned.bias, unsigned.has_infinity, unsigned.has_nan) == (
        False,
        32,
        True,
        True,
    )


@pytest.mark.parametrize(("k", "p"), [(8, 8), (1, 1), (17, 3), (8, 0), (-1, 2), (16, 1), (10**30, 3)])
def test_p3109_formats_that_are_none(k, p):
    with pytest.raises(ValueError, match="accepted"):
        rk.p3109(k, p)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("p3109_k8p3se", rk.p3109(8, 3)),
        ("p3109_k8p3sf", rk.p3109(8, 3, extended=False)),
        ("p3109_k16p8ue", rk.p3109(16, 8, signed=False)),
        ("p3109_k4p2uf", rk.p3109(4, 2, signed=False, extended=False)),
    ],
)
def test_p3109_formats_by_name(name, made):
    assert made.name == name
    assert as_format(name) == made
    assert rk.encode([1.5], name) == rk.encode([1.5], made)
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    "name", ["p3109_k08p3se", "p3109_k8p3", "p3109_k8p3xe", "P3109_k8p3se", "p3109_k8p3se "]
)
def test_names_that_are_not_quite_p3109(name):
    with pytest.raises(
        ValueError, match=rf"unknown format '{name}'; accepted: .*, or a P3109 name as p3109_k8p3se"
    ):
        as_format(name)


def test_p3109_names_of_no_format():
    with pytest.raises(ValueError, match=r"p3109_k8p9se: accepted: .* precision of 1 to 7"):
        as_format("p3109_k8p9se")


@pytest.mark.parametrize(("mantissa_bits", "nans"), [(3, 9), (3, 1), (3, 15), (1, 2), (5, 40)])
def test_special_values_of_their_own_with_float32s_exponent_field(mantissa_bits, nans):
    """float32's exponents, but not its infinity and NaNs."""
    made = rk.FloatFormat(
        "made", exponent_bits=8, mantissa_bits=mantissa_bits, has_infinity=False, high_nans=nans
    )
    codes = np.arange(1 << made.bits, dtype=made.code_dtype)
    magnitude = codes.astype(np.int64) & ((1 << (8 + mantissa_bits)) - 1)
    exponent, fraction = magnitude >> mantissa_bits, magnitude & ((1 << mantissa_bits) - 1)
    normal = np.ldexp(1.0 + fraction / 2.0**mantissa_bits, exponent - 127)
    right = np.where(exponent == 0, np.ldexp(fraction / 2.0**mantissa_bits, -126), normal)
    right[magnitude >= (1 << (8 + mantissa_bits)) - nans] = np.nan
    right[len(right) // 2 :] *= -1
    values = rk.decode(codes, made, np.float64)
    np.testing.assert_array_equal(values, right)
    kept = ~np.isnan(values)
    assert (rk.encode(values[kept], made) == codes[kept]).all()
    kept &= np.abs(right) <= np.finfo(np.float32).max
    assert (rk.encode(values[kept].astype(np.float32), made) == codes[kept]).all()


@pytest.mark.parametrize("options", [{"high_nans": 7}, {"high_nans": 0}, {"high_nans": 1}])
def test_float64s_exponent_field_comes_with_its_special_values(options):
    with pytest.raises(ValueError, match=r"made: numbers above 2\^961, too near float64's largest"):
        rk.FloatFormat("made", exponent_bits=11, mantissa_bits=1, has_infinity=False, **options)
    with pytest.raises(ValueError, match=r"accepted: a bias up to 1000, or 1023 with IEEE 754's specials"):
        rk.FloatFormat("made", exponent_bits=10, mantissa_bits=2, bias=1023, **options)


def test_formats_need_a_normal_number():
    """Overflow is judged by the number after the largest, which has to be normal or an end of these."""
    with pytest.raises(ValueError, match="made: 12 codes for infinity and NaN leave no normal numbers"):
        rk.FloatFormat("made", exponent_bits=1, mantissa_bits=3, bias=900, high_nans=11)
    made = rk.FloatFormat("made", exponent_bits=1, mantissa_bits=3, bias=900, high_nans=6)
    values = rk.decode(np.arange(16, dtype=np.uint8), made, np.float64)
    assert np.isfinite(values[:9]).all()
    assert np.isposinf(values[9])
    assert np.isnan(values[10:]).all()
    assert (rk.encode(values[:10], made) == np.arange(10)).all()
