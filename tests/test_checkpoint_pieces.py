"""Large tensors are converted in pieces: file and errors are those that whole tensors give."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import ramekin as rk
from ramekin.checkpoint import cutting, make_rule, run

RNG = np.random.default_rng(5)


def numbers(*shape):
    x = RNG.standard_normal(shape) * np.exp2(RNG.integers(-9, 9, shape))
    x.flat[:: max(x.size // 5, 1)] = [np.inf, -np.nan, 1e9, -0.0, 3e-9, 0.1][
        : len(x.flat[:: max(x.size // 5, 1)])
    ]
    return x


TENSORS = {
    "matrix": numbers(37, 45).astype(np.float32),
    "tame": RNG.standard_normal((40, 32)).astype(np.float32),
    "line": rk.cast(numbers(1003), np.float16),
    "stack": rk.cast(numbers(5, 33, 14), rk.bfloat16),
    "wide": numbers(3, 700),
    "beyond": RNG.standard_normal((12, 90)) * 1e300,
    "small": RNG.standard_normal((30, 40)) * 1e-42,
    "zeros": np.zeros((9, 64), np.float16),
    "scalar": np.float32(0.3),
    "empty": np.zeros((0, 64), np.float32),
    "hollow": np.zeros((64, 0), np.float32),
    "ids": np.arange(900),
    "mx": rk.quantize(RNG.standard_normal((70, 40)), rk.mxfp4),
    "rows": rk.quantize(RNG.standard_normal((50, 40)), rk.float8_e4m3fn, axis=1),
    "tiles": rk.quantize(RNG.standard_normal((50, 40)), rk.float8_e4m3fn, block=(16, 8)),
    "one": rk.quantize(RNG.standard_normal((50, 40)), rk.float8_e4m3fn),
    "turned": rk.quantize(RNG.standard_normal((40, 50)), rk.float6_e2m3fn).T,
}
RULES = [
    ("float8_e4m3fn", None, {}),
    ("bfloat16", None, {"rounding": "toward-negative"}),
    ("float32", None, {}),
    ("float4_e2m1fn", None, {"saturate": True}),
    ("float8_e5m2", None, {"rounding": "stochastic", "seed": 3}),
    ("mxfp8_e4m3", None, {}),
    ("mxfp4", "tile:16x32", {"scale_rounding": "rceil"}),
    ("nvfp4", None, {}),
    ("float8_e4m3fn", "tensor", {}),
    ("float4_e2m1fn", "tensor", {"scale_rounding": "rceil"}),
    ("float8_e4m3fn", "row", {}),
    ("float6_e3m2fn", "column", {}),
    ("float8_e5m2", "block:7", {}),
    ("float4_e2m1fn", "tile:3x5", {}),
    ("mxfp6_e2m3", None, {"rounding": "stochastic", "seed": 4}),
]


@pytest.fixture
def source(tmp_path):
    rk.save(tmp_path / "in.safetensors", TENSORS)
    return tmp_path / "in.safetensors"


@pytest.mark.parametrize(("fmt", "scaling", "options"), RULES, ids=str)
def test_pieces_make_the_same_file(fmt, scaling, options, source, tmp_path, monkeypatch):
    paths = tmp_path / "whole.safetensors", tmp_path / "pieces.safetensors"
    whole = rk.convert_checkpoint(source, paths[0], fmt, scaling=scaling, **options)
    monkeypatch.setattr(cutting, "ELEMENTS", 200)
    monkeypatch.setattr(run, "_TOGETHER", 700)
    monkeypatch.setattr(run, "_FEW_BYTES", 4000)
    pieces = rk.convert_checkpoint(source, paths[1], fmt, scaling=scaling, **options)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    for one, other in zip(whole.tensors, pieces.tensors, strict=True):
        assert (one.name, one.lost, repr(one.worst)) == (other.name, other.lost, repr(other.worst))
        if one.stats is None:
            assert other.stats is None
            continue
        for field in ("size", "max_abs", "max_rel", "overflow", "underflow", "nonfinite"):
            assert np.array_equal(getattr(one.stats, field), getattr(other.stats, field), equal_nan=True), (
                field
            )
        # Sums of up to 3000 terms in another order: each addition has an error of 2^-53 at most.
        for field in ("rms", "sqnr_db", "cosine"):
            assert np.allclose(
                getattr(one.stats, field), getattr(other.stats, field), rtol=1e-11, atol=1e-11, equal_nan=True
            ), field


@pytest.mark.parametrize(
    ("rule", "name", "lengths"),
    [
        (("bfloat16",), "matrix", 4),
        (("bfloat16",), "line", 200),
        (("bfloat16",), "stack", 1),
        (("float4_e2m1fn",), "line", 200),
        (("bfloat16",), "mx", 5),
        (("bfloat16",), "tiles", 16),
        (("mxfp8_e4m3",), "matrix", 4),
        (("mxfp8_e4m3",), "line", 192),
        (("mxfp4", "tile:16x32"), "matrix", 16),
        (("float8_e4m3fn", "row"), "matrix", 4),
        (("float8_e4m3fn", "column"), "stack", 1),
        (("float8_e4m3fn", "tensor"), "matrix", 4),
        (("float4_e2m1fn", "tensor"), "line", 200),
        (("nvfp4",), "matrix", 4),
        (("nvfp4",), "line", 192),
        (None, "matrix", 4),
        (None, "line", 200),
        # What is converted as a whole.
        (("float8_e4m3fn", "column"), "matrix", None),
        (("mxfp8_e4m3", None, "stochastic", None, False, 1), "matrix", None),
        (("mxfp8_e4m3",), "mx", None),
        (("bfloat16",), "scalar", None),
        (("bfloat16",), "empty", None),
        (None, "mx", None),
        (None, "scalar", None),
    ],
)
def test_how_tensors_are_cut(rule, name, lengths, source, monkeypatch):
    monkeypatch.setattr(cutting, "ELEMENTS", 200)
    x = rk.load(source)[name]
    cuts = cutting.cuts(x.shape, cutting.layout_of(x), rule and make_rule(*rule))
    if lengths is None:
        assert cuts == [(0, max(x.shape[0], 1) if x.ndim else 1)]
        return
    assert cuts == [(start, min(start + lengths, len(x))) for start in range(0, x.shape[0], lengths)]


def test_one_piece_is_written_while_the_next_is_converted(tmp_path, monkeypatch):
    begun = [threading.Event() for _ in range(4)]
    begun[3].set()
    convert_piece, store = run.convert_piece, run.Run._store

    def converting(x, rule, rows, amax):
        begun[rows[0]].set()
        return convert_piece(x, rule, rows, amax)

    def storing(self, tensor, piece):
        assert begun[piece.rows[0] + 1].wait(30)
        store(self, tensor, piece)

    monkeypatch.setattr(cutting, "ELEMENTS", 200)
    monkeypatch.setattr(run, "convert_piece", converting)
    monkeypatch.setattr(run.Run, "_store", storing)
    rk.save(tmp_path / "in.safetensors", {"wide": TENSORS["wide"]})
    rk.convert_checkpoint(tmp_path / "in.safetensors", tmp_path / "out.safetensors", "bfloat16")
    expected = rk.cast(TENSORS["wide"], rk.bfloat16)
    assert rk.load(tmp_path / "out.safetensors")["wide"].tobytes() == expected.tobytes()


def test_an_error_in_the_background_ends_the_conversion(source, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    target = tmp_path / "out.safetensors"
    with monkeypatch.context() as broken:
        broken.setattr("ramekin.checkpoint.partial.Part.write", full)
        with pytest.raises(OSError, match="No space left on device"):
            rk.convert_checkpoint(source, target, "mxfp4")
    assert not target.exists()
    rk.convert_checkpoint(source, target, "mxfp4")
    assert len(rk.load(target)) == len(TENSORS)
