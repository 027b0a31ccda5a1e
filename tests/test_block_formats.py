"""Block formats: the named ones, those made here, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import ramekin as rk

NAMED = {
    "mxfp8_e4m3": ("float8_e4m3fn", "float8_e8m0fnu", 32, 8.25),
    "mxfp8_e5m2": ("float8_e5m2", "float8_e8m0fnu", 32, 8.25),
    "mxfp6_e3m2": ("float6_e3m2fn", "float8_e8m0fnu", 32, 6.25),
    "mxfp6_e2m3": ("float6_e2m3fn", "float8_e8m0fnu", 32, 6.25),
    "mxfp4": ("float4_e2m1fn", "float8_e8m0fnu", 32, 4.25),
    "mxint8": ("int8", "float8_e8m0fnu", 32, 8.25),
    "nvfp4": ("float4_e2m1fn", "float8_e4m3fn", 16, 4.5),
}


@pytest.mark.parametrize("name", NAMED)
def test_named(name):
    fmt = getattr(rk, name)
    assert (fmt.name, fmt.element.name, fmt.scale.name, fmt.block, fmt.bits_per_element) == (
        name,
        *NAMED[name],
    )
    assert fmt.bits == fmt.element.bits
    assert fmt.integer == (name == "mxint8")
    assert fmt.tensor_scale == (name == "nvfp4")
    assert str(fmt) == name
    assert rk.as_block_format(name) is rk.as_block_format(fmt) is fmt


def test_the_list_is_complete():
    assert [fmt.name for fmt in rk.block_formats()] == list(NAMED)


def test_int8_holds_the_integers():
    codes = np.arange(256, dtype=np.uint8)
    values = rk.decode(codes, rk.mxint8.element)
    np.testing.assert_array_equal(values * 64, np.concatenate([np.arange(128), -np.arange(128)]))


def test_repr():
    assert repr(rk.nvfp4) == "<BlockFormat nvfp4: blocks of 16 float4_e2m1fn, scales of float8_e4m3fn>"


def custom(**changes):
    given = {"name": "mine", "element": "float8_e5m2", "scale": "bfloat16", "block": 8, **changes}
    return rk.BlockFormat(**given)


@pytest.mark.parametrize("fmt", [*rk.block_formats(), custom()], ids=str)
def test_copies(fmt):
    for same in (copy.copy(fmt), copy.deepcopy(fmt), pickle.loads(pickle.dumps(fmt))):
        assert same == fmt
        assert hash(same) == hash(fmt)
        assert (same is fmt) == (fmt.name in NAMED)


def test_equality_is_of_all_fields():
    fmt = custom()
    assert fmt == custom(element=rk.float8_e5m2, scale=rk.bfloat16)
    for changes in (
        {"name": "other"},
        {"element": "float8_e4m3fn"},
        {"scale": "float16"},
        {"block": 9},
        {"tensor_scale": True},
        {"element": rk.mxint8.element, "integer": True},
    ):
        assert custom(**changes) != fmt
    assert dataclasses.replace(fmt, block=16) == custom(block=np.int64(16))
    assert {fmt: 1}[custom()] == 1


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        rk.mxfp4.block = 16


@pytest.mark.parametrize("scale", ["float32", "float8_e8m0fnu", "float8_e5m2", "float16", rk.p3109(8, 4)])
def test_scales_that_are_accepted(scale):
    fmt = custom(scale=scale)
    assert fmt.bits_per_element == 8 + fmt.scale.bits / 8


BAD = [
    ({"name": 3}, TypeError, "name of a block format is a str, not int"),
    ({"block": 0}, ValueError, "mine: block is 0; accepted: a positive int"),
    ({"block": 2.0}, TypeError, "mine: block is a positive int, not float"),
    ({"block": True}, TypeError, "mine: block is a positive int, not bool"),
    ({"element": "float9"}, ValueError, "unknown format 'float9'; accepted"),
    ({"element": None}, TypeError, "a format is needed, not None"),
    ({"element": "float32"}, ValueError, "mine: float32 has 32 bits; elements have at most 16"),
    ({"element": "tfloat32"}, ValueError, "mine: tfloat32 has 19 bits; elements have at most 16"),
    ({"element": "float8_e8m0fnu"}, ValueError, "mine: float8_e8m0fnu has no sign; elements are signed"),
    (
        {"scale": "float6_e2m3fn"},
        ValueError,
        "float6_e2m3fn is no format of scales; accepted: float8_e8m0fnu",
    ),
    ({"scale": "tfloat32"}, ValueError, "tfloat32 is no format of scales"),
    ({"scale": rk.p3109(6, 1)}, ValueError, "p3109_k6p1se is no format of scales"),
    ({"tensor_scale": 1}, TypeError, "mine: tensor_scale is a bool, not int"),
    ({"integer": None}, TypeError, "mine: integer is a bool, not NoneType"),
    ({"scale": "float32", "tensor_scale": True}, ValueError, "scales of float32 need no tensor scale"),
    ({"scale": "float8_e8m0fnu", "tensor_scale": True}, ValueError, "float8_e8m0fnu need no tensor scale"),
    ({"integer": True}, ValueError, "float8_e5m2 does not hold integers; accepted with integer=True"),
    ({"element": rk.p3109(8, 7), "integer": True}, ValueError, "p3109_k8p7se does not hold integers"),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD)
def test_refusals(changes, error, message):
    with pytest.raises(error, match=message):
        custom(**changes)


def test_look_up_refusals():
    with pytest.raises(ValueError, match=r"unknown block format 'mxfp5'; accepted: mxfp8_e4m3, .*, nvfp4"):
        rk.as_block_format("mxfp5")
    with pytest.raises(
        TypeError, match=r"<FloatFormat bfloat16> is no block format; accepted: a BlockFormat"
    ):
        rk.as_block_format(rk.bfloat16)
