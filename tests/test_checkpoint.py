"""`rk.convert_checkpoint`: the bits of `cast` and `quantize`, measured errors, plans, and what is refused."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
import safetensors

import ramekin as rk
from ramekin.checkpoint import ErrorTooLargeError, Plan, make_rule, read_plan
from ramekin.storage import sharded

RNG = np.random.default_rng(11)
TENSORS = {
    "embed": RNG.standard_normal((33, 47)).astype(np.float32),
    "layer.0.w": rk.cast(RNG.standard_normal((17, 65)), rk.bfloat16),
    "layer.0.b": RNG.standard_normal(21).astype(np.float16),
    "stack": RNG.standard_normal((2, 3, 40)),
    "scalar": np.float32(0.1),
    "empty": np.zeros((3, 0), np.float32),
    "steps": np.arange(4),
    "mask": np.array([True, False]),
}
FLOATS = [name for name, x in TENSORS.items() if np.asarray(x).dtype.kind not in "ib"]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.safetensors"
    rk.save(path, TENSORS, metadata={"format": "pt"})
    return path


@pytest.fixture
def shards(tmp_path):
    directory = tmp_path / "in"
    rk.save(directory, TENSORS, metadata={"format": "pt"}, max_shard_size=3000)
    (directory / "config.json").write_text("{}")
    (directory / "optimizer.bin").write_bytes(b"large")
    return directory


def equal(got, expected):
    if isinstance(expected, rk.QuantizedArray):
        return got == expected
    expected = np.asarray(expected)
    return (got.dtype, got.shape, got.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())


def leftovers(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("."))


CASTS = ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "float32", "float4_e2m1fn", "float6_e3m2fn",
         "float8_e8m0fnu", "float8_e3m4"]  # fmt: skip


OPTIONS = [{}, {"rounding": "toward-negative"}, {"rounding": "stochastic", "seed": 5}, {"saturate": True}]


@pytest.mark.parametrize("fmt", CASTS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_without_scaling_the_bits_are_those_of_cast(fmt, options, source, tmp_path):
    rk.convert_checkpoint(source, tmp_path / "out.safetensors", fmt, **options)
    read = rk.load(tmp_path / "out.safetensors")
    assert set(read) == set(TENSORS)
    for name, x in TENSORS.items():
        assert equal(read[name], rk.cast(x, fmt, **options) if name in FLOATS else x), name


@pytest.mark.parametrize("dtype", [np.float32, rk.bfloat16.dtype, np.float16])
@pytest.mark.parametrize("fmt", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "bfloat16"])
@pytest.mark.parametrize("extreme", ["max", "beyond", "inf", "nan", "-0"])
@pytest.mark.parametrize("rounding", ["ties-to-even", "toward-positive"])
def test_so_are_specials_and_overflow(dtype, fmt, extreme, rounding, tmp_path):
    largest = min(rk.finfo(fmt).max, rk.finfo(dtype).max)
    value = {"max": largest, "beyond": largest * 1.01, "inf": np.inf, "nan": np.nan, "-0": -0.0}[extreme]
    x = np.array([1.5, 0.001, -3], np.float64)
    x[1] = value
    x = rk.cast(x, dtype)
    rk.save(tmp_path / "in.safetensors", {"x": x})
    done = rk.convert_checkpoint(
        tmp_path / "in.safetensors", tmp_path / "out.safetensors", fmt, rounding=rounding
    )
    y = rk.cast(x, fmt, rounding=rounding)
    assert equal(rk.load(tmp_path / "out.safetensors")["x"], y)
    (report,) = done.tensors
    expected = rk.error_stats(x, y)
    assert repr(report.stats) == repr(expected)
    finite = np.isfinite(x.astype(np.float64))
    assert report.lost == np.count_nonzero(finite & ~np.isfinite(y.astype(np.float64)))
    assert (report.error == np.inf) == (report.lost > 0)


SCALED = [
    ("mxfp8_e4m3", None, {}), ("mxfp4", None, {"scale_rounding": "rceil"}), ("nvfp4", None, {}),
    ("nvfp4", "tile:4x16", {"block": (4, 16)}), ("float8_e4m3fn", "tensor", {}),
    ("float8_e4m3fn", "row", {"axis": -1}), ("float8_e5m2", "column", {"axis": -2}),
    ("float8_e4m3fn", "block:7", {"block": 7}), ("float8_e4m3fn", "tile:8x8", {"block": (8, 8)}),
    ("p3109_k6p3se", "block:8", {"block": 8, "scale_rounding": "ceil"}),
    ("mxfp6_e2m3", None, {"rounding": "stochastic", "seed": 2**63}),
]  # fmt: skip


@pytest.mark.parametrize(("fmt", "scaling", "options"), SCALED)
def test_with_scaling_they_are_those_of_quantize(fmt, scaling, options, source, tmp_path):
    target = tmp_path / "out.safetensors"
    own = {key: value for key, value in options.items() if key not in ("axis", "block")}
    done = rk.convert_checkpoint(source, target, fmt, scaling=scaling, **own)
    read = rk.load(target)
    least = 2 if scaling == "column" or str(scaling).startswith("tile") else 0 if scaling == "tensor" else 1
    for report in done.tensors:
        x = np.asarray(TENSORS[report.name])
        kept = report.name not in FLOATS or x.ndim < least
        assert equal(read[report.name], x if kept else rk.quantize(x, fmt, **options)), report.name
        assert (report.stats is None) == kept
        assert report.nbytes_after == read.info(report.name).nbytes


def test_errors_are_those_of_the_result(source, tmp_path):
    for fmt, scaling in (("float8_e4m3fn", None), ("mxfp4", None), ("nvfp4", None), ("float8_e5m2", "row")):
        done = rk.convert_checkpoint(source, tmp_path / "out.safetensors", fmt, scaling=scaling)
        read = rk.load(tmp_path / "out.safetensors")
        for report in done.tensors:
            if report.stats is None:
                continue
            x, y = np.asarray(TENSORS[report.name]), read[report.name]
            expected = rk.error_stats(x, y)
            assert report.stats.max_abs == expected.max_abs or x.size == 0
            assert np.isclose(report.stats.sqnr_db, expected.sqnr_db, rtol=1e-9, equal_nan=True)
            errors = np.abs(
                (y.dequantize(np.float64) if hasattr(y, "dequantize") else y.astype(float)) - x.astype(float)
            )
            if x.size == 0 or errors.max() == 0:
                assert report.worst is None
                continue
            index = np.unravel_index(errors.argmax(), errors.shape)
            assert report.worst.index == tuple(map(int, index))
            assert abs(report.worst.result - report.worst.value) == errors.max()
            assert np.isclose(
                report.error, np.sqrt((errors**2).sum() / (x.astype(float) ** 2).sum()), rtol=1e-9
            )


def test_the_worst_element_is_found_in_any_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("ramekin.checkpoint.transform._PIECE", 50)
    x = np.ones((40, 32), np.float32)
    x[37, 5] = 1.3
    rk.save(tmp_path / "in.safetensors", {"x": x})
    for fmt in ("float8_e4m3fn", "mxfp8_e4m3", "nvfp4"):
        done = rk.convert_checkpoint(tmp_path / "in.safetensors", tmp_path / "out.safetensors", fmt)
        y = rk.load(tmp_path / "out.safetensors")["x"]
        errors = np.abs(np.asarray(y, np.float64) - x)
        assert done.tensors[0].worst.index == np.unravel_index(errors.argmax(), x.shape)
        assert done.tensors[0].worst.index[0] == 37


def test_metadata_and_unnamed_tensors_are_kept(source, tmp_path):
    target = tmp_path / "out.safetensors"
    done = rk.convert_checkpoint(source, target, "bfloat16", keep=["^embed$", "b$"])
    read = rk.load(target)
    assert read.metadata == {"format": "pt"}
    assert equal(read["embed"], TENSORS["embed"])
    reasons = {report.name: report.reason for report in done.tensors}
    assert reasons["embed"] == "matches ^embed$"
    assert reasons["layer.0.b"] == "matches b$"
    assert reasons["steps"] == "int64, no float"
    assert reasons["stack"] == ""
    assert safetensors.safe_open(target, "numpy").metadata() == {"format": "pt"}
    assert leftovers(tmp_path) == []


def test_shards_stay_shards(shards, tmp_path):
    target = tmp_path / "out"
    rk.convert_checkpoint(shards, target, "mxfp8_e4m3")
    before, after = rk.load(shards), rk.load(target)
    names = {path.name for path in shards.glob("*.safetensors")}
    assert len(names) > 2
    assert {path.name for path in target.iterdir()} == names | {sharded.INDEX, "config.json"}
    for name in TENSORS:
        assert after.info(name).file.name == before.info(name).file.name
        x = before[name]
        assert equal(after[name], rk.quantize(x, "mxfp8_e4m3") if name in FLOATS and x.ndim else x)
    index = json.loads((target / sharded.INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(after.info(name).nbytes for name in after)
    assert leftovers(tmp_path) == []
    rk.convert_checkpoint(target, tmp_path / "one.safetensors", "float32")
    assert set(rk.load(tmp_path / "one.safetensors")) == set(TENSORS)


def test_back_again(source, tmp_path):
    for fmt in ("mxfp4", "nvfp4"):
        rk.convert_checkpoint(source, tmp_path / "q.safetensors", fmt)
        for back in ("float32", "bfloat16"):
            done = rk.convert_checkpoint(tmp_path / "q.safetensors", tmp_path / "back.safetensors", back)
            read = rk.load(tmp_path / "back.safetensors")
            assert set(read) == set(TENSORS)
            for name in ("embed", "layer.0.w", "stack", "layer.0.b", "empty"):
                assert equal(read[name], rk.quantize(TENSORS[name], fmt).dequantize(back)), (fmt, back, name)
            assert all(report.lost == 0 for report in done.tensors)
    quantized, again = tmp_path / "q.safetensors", tmp_path / "r.safetensors"
    q = rk.load(quantized)["embed"]
    for options in ({"rounding": "toward-zero"}, {"rounding": "stochastic", "seed": 1}):
        rk.convert_checkpoint(quantized, again, "bfloat16", **options)
        expected = rk.cast(q.dequantize(np.float64), "bfloat16", **options)
        assert equal(rk.load(again)["embed"], expected)
    rk.convert_checkpoint(quantized, again, "mxfp8_e5m2")
    assert rk.load(again)["embed"] == rk.quantize(q.dequantize(), "mxfp8_e5m2")
    rk.convert_checkpoint(quantized, again, "mxfp8_e5m2", keep=["embed"])
    assert rk.load(again)["embed"] == q


def test_in_place_and_npz(source, tmp_path):
    rk.convert_checkpoint(source, source, "bfloat16")
    assert equal(rk.load(source)["embed"], rk.cast(TENSORS["embed"], "bfloat16"))
    rk.save(tmp_path / "x.npz", {"w": TENSORS["embed"]})
    rk.convert_checkpoint(tmp_path / "x.npz", tmp_path / "d", "nvfp4")
    assert rk.load(tmp_path / "d")["w"] == rk.quantize(TENSORS["embed"], "nvfp4")


def test_plans(source, tmp_path):
    plan = Plan(
        {
            "embed": make_rule("mxfp4", scale_rounding="even"),
            "stack": None,
            "layer.0.w": make_rule("float8_e4m3fn", "row"),
        },
        make_rule("bfloat16", rounding="toward-zero"),
    )
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan.to_json()))
    assert read_plan(path) == plan
    for given in (plan, path):
        done = rk.convert_checkpoint(source, tmp_path / "out.safetensors", plan=given)
        read = rk.load(tmp_path / "out.safetensors")
        assert read["embed"] == rk.quantize(TENSORS["embed"], "mxfp4", scale_rounding="even")
        assert read["layer.0.w"] == rk.quantize(TENSORS["layer.0.w"], "float8_e4m3fn", axis=-1)
        assert equal(read["stack"], TENSORS["stack"])
        assert equal(read["scalar"], rk.cast(TENSORS["scalar"], "bfloat16", rounding="toward-zero"))
        assert {r.name: r.reason for r in done.tensors}["stack"] == "by the plan"
    rk.convert_checkpoint(source, tmp_path / "out.safetensors", "float16", plan=Plan({"embed": None}))
    assert equal(rk.load(tmp_path / "out.safetensors")["stack"], rk.cast(TENSORS["stack"], "float16"))
    done = rk.convert_checkpoint(source, tmp_path / "out.safetensors", plan=Plan({}))
    assert {r.reason for r in done.tensors} == {"no rule"}


def test_a_dry_run_measures_and_writes_nothing(source, tmp_path):
    wet = rk.convert_checkpoint(source, tmp_path / "out.safetensors", "mxfp6_e3m2")
    dry = rk.convert_checkpoint(source, tmp_path / "other.safetensors", "mxfp6_e3m2", dry_run=True)
    assert repr(dry.tensors) == repr(wet.tensors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.safetensors", "out.safetensors"]


def test_progress_counts_bytes(source, tmp_path):
    seen = []
    rk.convert_checkpoint(
        source, tmp_path / "o.safetensors", "bfloat16", progress=lambda *now: seen.append(now)
    )
    total = sum(np.asarray(x).nbytes for x in TENSORS.values())
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert {of for _, of, _ in seen} == {total}
    assert (seen[-1][0], {name for _, _, name in seen}) == (total, set(TENSORS))


def test_too_large_an_error_leaves_nothing(source, tmp_path):
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"as it was")
    with pytest.raises(
        ErrorTooLargeError, match=r"'.*' would have an error of 0\.\d+ in mxfp4, more than 0\.05"
    ):
        rk.convert_checkpoint(source, target, "mxfp4", max_error=0.05)
    assert target.read_bytes() == b"as it was"
    rk.save(source, {"x": np.float32([1, 1e9])})
    with pytest.raises(
        ErrorTooLargeError, match="'x' would have an error of inf in float8_e4m3fn, more than 1e"
    ):
        rk.convert_checkpoint(source, target, "float8_e4m3fn", max_error=1e30)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.safetensors", "out.safetensors"]


REFUSED = {
    "no format": ({}, "there is neither a format nor a plan to convert by"),
    "unknown format": ({"format": "fp9"}, "convert: unknown format 'fp9'; accepted: mxfp8_e4m3"),
    "unsigned": ({"format": "float8_e8m0fnu", "scaling": "row"}, "float8_e8m0fnu has no sign"),
    "no dtype": ({"format": "tfloat32"}, "tfloat32 has no NumPy dtype; accepted: it with a scaling"),
    "scaling": (
        {"format": "float8_e4m3fn", "scaling": "rows"},
        "unknown scaling 'rows'; accepted: none, tensor, row",
    ),
    "zero block": ({"format": "float8_e4m3fn", "scaling": "block:0"}, "unknown scaling 'block:0'"),
    "another block": (
        {"format": "mxfp4", "scaling": "block:16"},
        "scaling of mxfp4 cannot be 'block:16'; accepted: block:32, tile:Rx32",
    ),
    "no block": ({"format": "nvfp4", "scaling": "row"}, "cannot be 'row'; accepted: block:16, tile:Rx16"),
    "rounding": ({"format": "mxfp4", "rounding": "up"}, "unknown rounding 'up'; accepted: ties-to-even"),
    "scale rounding": (
        {"format": "mxfp4", "scale_rounding": "up"},
        "unknown scale rounding 'up'; accepted: floor",
    ),
    "no powers": (
        {"format": "nvfp4", "scale_rounding": "ceil"},
        "nvfp4 with scaling 'block:16' has no scales to be",
    ),
    "no scales": (
        {"format": "float16", "scale_rounding": "ceil"},
        "float16 with scaling 'none' has no scales",
    ),
    "seedless": ({"format": "mxfp4", "rounding": "stochastic"}, "stochastic rounding needs a seed here"),
    "seed": ({"format": "mxfp4", "rounding": "stochastic", "seed": -1}, "seed -1; accepted: 0 to 2**64 - 1"),
    "saturate": ({"format": "mxfp4", "saturate": True}, "what is scaled always saturates"),
    "pattern": ({"format": "mxfp4", "keep": ["("]}, "'(' is no regular expression: "),
    "max_error": (
        {"format": "mxfp4", "max_error": float("nan")},
        "max_error is nan; accepted: a number of at least 0",
    ),
    "absent": ({"plan": Plan({"v": None})}, "the plan has a rule for 'v', which "),
    "for nothing": ({"plan": Plan({}), "scaling": "row"}, "scaling and rounding are given for no format"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case, source, tmp_path):
    options, said = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(said)):
        rk.convert_checkpoint(source, tmp_path / "out.safetensors", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]


PLANS = {
    "no JSON": ("{", "is no valid plan: "),
    "no plan": ("{}", 'it lacks "ramekin_plan": 1'),
    "another version": ('{"ramekin_plan": 2}', 'it lacks "ramekin_plan": 1'),
    "more": ('{"ramekin_plan": 1, "x": 1}', "it has other parts than"),
    "tensors": ('{"ramekin_plan": 1, "tensors": []}', "it has other parts than"),
    "twice": ('{"ramekin_plan": 1, "tensors": {"w": null, "w": null}}', "'w' appears twice"),
    "default": (
        '{"ramekin_plan": 1, "default": 1}',
        "the default is 1; accepted: null, or an object of format",
    ),
    "rule": (
        '{"ramekin_plan": 1, "tensors": {"w": {"scaling": "row"}}}',
        "the rule of 'w' is {'scaling': 'row'}",
    ),
    "unknown key": ('{"ramekin_plan": 1, "default": {"format": "mxfp4", "x": 1}}', "the default is {"),
    "type": (
        '{"ramekin_plan": 1, "default": {"format": "mxfp4", "seed": true}}',
        "the default: seed is True, of",
    ),
    "format": (
        '{"ramekin_plan": 1, "default": {"format": "fp9"}}',
        "the default: convert: unknown format 'fp9'",
    ),
}


@pytest.mark.parametrize("case", PLANS)
def test_plans_that_are_none(case, source, tmp_path):
    text, said = PLANS[case]
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        rk.convert_checkpoint(source, tmp_path / "out.safetensors", plan=tmp_path / "plan.json")
    assert str(caught.value).startswith(f"{tmp_path / 'plan.json'} is no valid plan: ")


def test_targets_that_are_refused(source, shards, tmp_path):
    def refused(target, kind, said):
        with pytest.raises(kind, match=re.escape(said)):
            rk.convert_checkpoint(source, target, "mxfp4")

    refused(tmp_path / "x.npz", ValueError, "x.npz: accepted: *.safetensors, or a directory")
    refused(shards, FileExistsError, "the directory is not empty")
    refused(tmp_path / "absent" / "x.safetensors", FileNotFoundError, "No such file or directory")
    (tmp_path / "d.safetensors").mkdir()
    refused(tmp_path / "d.safetensors", IsADirectoryError, "Is a directory")
    (tmp_path / "file").touch()
    refused(tmp_path / "file", NotADirectoryError, "Not a directory")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_lead_to_what_is_replaced(source, shards, tmp_path):
    (tmp_path / "blob").write_bytes(b"before")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link.safetensors").symlink_to("blob")
    (tmp_path / "link").symlink_to("directory")
    expected = rk.cast(TENSORS["embed"], rk.bfloat16)
    for given, link in ((source, "link.safetensors"), (shards, "link")):
        rk.convert_checkpoint(given, tmp_path / link, "bfloat16")
        assert (tmp_path / link).is_symlink()
        assert equal(rk.load(tmp_path / link)["embed"], expected)
    assert (tmp_path / "blob").read_bytes() != b"before"
    assert leftovers(tmp_path) == []


def test_scales_take_no_name(tmp_path):
    rk.save(tmp_path / "in.safetensors", {"w": TENSORS["embed"], "w_scale": np.ones(3, np.float32)})
    with pytest.raises(ValueError, match="the scales of 'w' cannot be 'w_scale', which is another tensor"):
        rk.convert_checkpoint(tmp_path / "in.safetensors", tmp_path / "out.safetensors", "mxfp4")
