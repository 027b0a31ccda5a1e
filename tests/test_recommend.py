"""`rk.recommend`: targets met when measured after conversion, and budgets against every assignment."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest

import ramekin as rk
from ramekin.checkpoint import read_plan

RNG = np.random.default_rng(9)
TENSORS = {
    "normal": RNG.standard_normal((20, 64)).astype(np.float32),
    "wide": (RNG.standard_normal((12, 96)) * np.exp2(RNG.integers(-12, 12, (12, 96)))).astype(np.float32),
    "rows": (RNG.standard_normal((16, 32)) * np.exp2(np.arange(16))[:, None]).astype(np.float32),
    "exact": np.float32([1, 2, 4, 0.5]),
    "ids": np.arange(6),
}
FORMATS = ["bfloat16", "float8_e4m3fn", "float8_e4m3fn:row", "mxfp8_e4m3", "mxfp6_e2m3", "mxfp4", "nvfp4"]


@pytest.fixture
def source(tmp_path):
    rk.save(tmp_path / "in.safetensors", TENSORS)
    return tmp_path / "in.safetensors"


def measured(source, found, tmp_path):
    """Names to arrays before and after a conversion by the plan, and the bytes of all tensors after it."""
    found.save(tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == found.plan
    rk.convert_checkpoint(source, tmp_path / "out.safetensors", plan=tmp_path / "plan.json")
    read = rk.load(tmp_path / "out.safetensors")
    pairs = {name: (TENSORS[name], read[name]) for name in TENSORS if name != "ids"}
    return pairs, sum(read.info(name).nbytes for name in read)


@pytest.mark.parametrize(
    "target", [{"sqnr_db": 10}, {"sqnr_db": 25}, {"sqnr_db": 40}, {"sqnr_db": 90}, {"sqnr_db": math.inf},
               {"max_rel": 0.01}, {"max_rel": 0.1}, {"max_rel": 0}, {"max_rel": 1}],
    ids=str,
)  # fmt: skip
def test_targets_are_met_by_the_smallest(target, source, tmp_path):
    found = rk.recommend(source, target, FORMATS)
    pairs, nbytes = measured(source, found, tmp_path)
    assert nbytes == found.nbytes
    ((kind, limit),) = target.items()
    for one in found.tensors:
        x, y = pairs[one.name]
        stats = rk.error_stats(x, y)
        assert stats.sqnr_db >= limit if kind == "sqnr_db" else stats.max_rel <= limit
        for candidate in rk.analyze(x, FORMATS).candidates:
            if candidate.nbytes < one.nbytes and not candidate.lost:
                own = candidate.stats
                assert own.sqnr_db < limit if kind == "sqnr_db" else own.max_rel > limit, one.reason
        assert one.reason


def test_reasons():
    one = rk.recommend(TENSORS["normal"], {"sqnr_db": 28}, ["mxfp4", "mxfp8_e4m3", "bfloat16"]).tensors[0]
    assert re.fullmatch(
        r"mxfp8_e4m3 has 3\d\.\d\d dB; of the smaller ones mxfp4 has 1\d\.\d\d dB", one.reason
    )
    one = rk.recommend(TENSORS["normal"], {"max_rel": 0.001}, ["bfloat16"]).tensors[0]
    assert one.candidate is None
    assert re.fullmatch(
        r"as it is is exact; of the smaller ones bfloat16 has a relative error of .*", one.reason
    )


def choices_of(x):
    """Bytes and noise of all that can be done with a tensor."""
    found = [(x.nbytes, 0.0)]
    for candidate in rk.analyze(x, FORMATS).candidates:
        if not candidate.lost:
            found.append((candidate.nbytes, 10 ** (-candidate.stats.sqnr_db / 10)))
    return found


@pytest.mark.parametrize("share", [0.2, 0.27, 0.3, 0.4, 0.55, 0.9, 1.0])
def test_budgets_are_kept_and_no_uniform_format_is_better(share, source, tmp_path):
    total = sum(x.nbytes for x in TENSORS.values())
    budget = int(total * share)
    found = rk.recommend(source, {"nbytes": budget}, FORMATS)
    pairs, nbytes = measured(source, found, tmp_path)
    assert nbytes == found.nbytes <= budget

    def error(arrays):
        noises = (10 ** (-rk.error_stats(x, y).sqnr_db / 10) * x.size for x, y in arrays.values())
        return math.fsum(noises)

    assert np.isclose(error(pairs), found.error, rtol=1e-9)
    for fmt in FORMATS:
        name, _, scaling = fmt.partition(":")
        rk.convert_checkpoint(source, tmp_path / "uniform.safetensors", name, scaling=scaling or None)
        read = rk.load(tmp_path / "uniform.safetensors")
        if sum(read.info(name).nbytes for name in read) <= budget:
            stats = [rk.error_stats(x, read[name]) for name, (x, _) in pairs.items()]
            if not any(one.nonfinite for one in stats):
                uniform = error({name: (x, read[name]) for name, (x, _) in pairs.items()})
                assert found.error <= uniform * (1 + 1e-9)
    # No assignment at all that fits can have less.
    options = [choices_of(x) for x, _ in pairs.values()]
    sizes = [x.size for x, _ in pairs.values()]
    least = min(
        sum(noise * size for (_, noise), size in zip(chosen, sizes, strict=True))
        for chosen in itertools.product(*options)
        if sum(nbytes for nbytes, _ in chosen) + TENSORS["ids"].nbytes <= budget
    )
    assert found.error >= least * (1 - 1e-9)


def test_arrays_and_quantised_ones():
    found = rk.recommend(rk.quantize(TENSORS["normal"], "mxfp4"), {"sqnr_db": 30}, ["mxfp8_e4m3"])
    assert [(one.name, one.candidate) for one in found.tensors] == [("x", None)]
    assert found.nbytes == 20 * 64 // 2 + 20 * 2
    assert rk.recommend(TENSORS["exact"], {"max_rel": 0}).tensors[0].candidate is not None


def test_overflow_is_not_recommended():
    found = rk.recommend(np.float32([1, 1e6]), {"sqnr_db": -1000}, ["float8_e4m3fn", "float16", "bfloat16"])
    assert str(found.tensors[0].candidate.rule) == "bfloat16"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({}, "target is {}; accepted: one of sqnr_db, max_rel, nbytes and a number"),
        ({"sqnr": 3}, "target is {'sqnr': 3}; accepted: one of sqnr_db"),
        ({"sqnr_db": 3, "nbytes": 4}, "accepted: one of sqnr_db, max_rel, nbytes and a number"),
        ({"sqnr_db": math.nan}, "target sqnr_db is nan; accepted: a number"),
        ({"max_rel": -1}, "target max_rel is -1; accepted: a number that exact tensors meet"),
        ({"nbytes": 100}, "target nbytes is 100; accepted: at least 1,615"),
    ],
)
def test_what_is_refused(target, said, source):
    with pytest.raises(ValueError, match=re.escape(said)):
        rk.recommend(source, target, FORMATS)


def test_other_things_than_floats():
    with pytest.raises(TypeError, match="analyze: x is int64; accepted: real floats"):
        rk.recommend(np.arange(3), {"sqnr_db": 3})
