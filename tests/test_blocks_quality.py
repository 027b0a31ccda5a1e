"""The error of scaled formats on normal numbers."""

from __future__ import annotations

import numpy as np
import pytest

import ramekin as rk

#: Ratio of signal to noise in dB, with scales by "floor", "rceil" and "even"; measured with other libraries.
QSNR = {
    "mxfp8_e4m3": (30.64, 31.53, 31.19),
    "mxfp8_e5m2": (25.35, 25.54, 25.54),
    "mxfp6_e2m3": (30.94, 30.96, 30.99),
    "mxfp6_e3m2": (25.35, 25.54, 25.54),
    "mxfp4": (18.79, 18.76, 19.03),
}
#: With the default rule of scales, or no scale.
PLAIN = {"mxint8": 41.66, "nvfp4": 20.44, "float16": 73.66, "bfloat16": 55.58}

X = np.random.default_rng(0).standard_normal(1 << 20).astype(np.float32)


def qsnr(values) -> float:
    exact = X.astype(np.float64)
    error = values.astype(np.float64) - exact
    return 10 * np.log10(np.square(exact).sum() / np.square(error).sum())


@pytest.mark.parametrize("name", QSNR)
def test_scale_roundings(name):
    for mode, expected in zip(("floor", "rceil", "even"), QSNR[name], strict=True):
        assert abs(qsnr(rk.quantize(X, name, scale_rounding=mode).dequantize()) - expected) <= 0.05


@pytest.mark.parametrize("name", PLAIN)
def test_one_rule(name):
    is_block = name in ("mxint8", "nvfp4")
    values = rk.quantize(X, name).dequantize() if is_block else rk.cast(X, name)
    assert abs(qsnr(values) - PLAIN[name]) <= 0.05
