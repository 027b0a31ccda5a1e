"""Scaled formats against gfloat, torchao and microxcaling, where those are right.

Each exclusion says what the fault is and takes out no more than that explains.
"""

from __future__ import annotations

import importlib
import math
import warnings
from fractions import Fraction

import numpy as np
import pytest

import block_cases
import exact_blocks
import ramekin as rk

ids = pytest.mark.parametrize
MX = ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4", "mxint8")
BLOCK = 32


def module_of(name: str, why: str):
    """Import a module or skip; torch's own warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            pytest.skip(f"{name} is not installed: {why}")


def each_element(blocks, size: int = BLOCK):
    """Spread what is said of blocks over their elements."""
    return np.repeat(blocks, size, axis=-1)


def largest(x, size: int = BLOCK):
    """Return the blocks' largest magnitudes, NaN if there is one."""
    return np.abs(x.reshape(*x.shape[:-1], -1, size)).max(axis=-1)


def near_power(x, above: bool) -> np.ndarray:
    """Tell where float32's logarithm to base 2 may round to an integer though `x` is no power of two.

    Just above a power ``2**n``, or just below one: by less than one unit in the last place of ``n``, which
    is at most ``abs(n) * 2**-23``.
    """

    def judge(value) -> bool:
        n = exact_blocks.exponent_of(value) + (not above)
        excess = abs(value / Fraction(2) ** n - 1)
        return 0 < excess < math.log(2) * abs(n) * 2.0**-23

    flat = [isinstance(v, Fraction) and v > 0 and judge(v) for v in np.ravel(x)]
    return np.array(flat).reshape(np.shape(x))


def fractions(x, divisor: float = 1.0) -> np.ndarray:
    return np.array(
        [Fraction(v) / Fraction(divisor) if math.isfinite(v) else None for v in np.ravel(x).tolist()], object
    ).reshape(np.shape(x))


GFLOAT_MODES = {
    "ties-to-even": "TiesToEven",
    "ties-to-away": "TiesToAway",
    "toward-zero": "TowardZero",
    "toward-positive": "TowardPositive",
    "toward-negative": "TowardNegative",
}


class TestGfloat:
    """One block at a time in Python's float64."""

    @ids("name", MX)
    @ids("kind", block_cases.KINDS)
    @ids("dtype", [np.float32, np.float64], ids=["float32", "float64"])
    def test_every_mode(self, name, kind, dtype):
        gfloat = pytest.importorskip("gfloat")
        block = pytest.importorskip("gfloat.block")
        formats = pytest.importorskip("gfloat.formats")
        theirs = getattr(formats, f"format_info_{'mxfp4_e2m1' if name == 'mxfp4' else name}")
        element = getattr(rk, name).element
        x = block_cases.data(kind, element, (3, 2 * BLOCK), dtype)
        for rounding, mode in GFLOAT_MODES.items():
            ours = rk.quantize(x, name, rounding=rounding)
            codes, scales = block_cases.codes_of(ours), block_cases.scales_of(ours)
            values = ours.dequantize(np.float64)
            for row, first in np.ndindex(x.shape[0], x.shape[1] // BLOCK):
                here = np.s_[row, first * BLOCK : (first + 1) * BLOCK]
                numbers = x[here].astype(np.float64)
                if self.wrong_block(numbers):
                    continue
                scale = block.compute_scale_amax(theirs.etype.emax, numbers)
                # Directed modes: gfloat divides in float64, where small numbers beside 2**127 become zero.
                right = (numbers == 0) | (numbers / scale != 0)
                if rounding == "ties-to-away":
                    right &= ~self.summed_to_the_tie(numbers / scale, element)
                found = np.array(
                    list(block.encode_block(theirs, scale, numbers / scale, gfloat.RoundMode[mode]))
                )
                if name == "mxint8":
                    # -128 has no positive counterpart, and saturation is symmetric (OCP MX v1.0, 5.3.4).
                    right &= found[1:] != 0x80
                message = f"{name} {kind} {rounding} {row} {first}"
                assert found[0] == scales[row, first], message
                np.testing.assert_array_equal(codes[here][right], found[1:][right], message)
                decoded = np.array(list(block.decode_block(theirs, found.tolist())))
                np.testing.assert_array_equal(values[here][right], decoded[right], message)

    @staticmethod
    def wrong_block(numbers) -> bool:
        """NaN is refused; infinity gives a scale of 2**127; floating log2 errs below powers of two."""
        amax = np.abs(numbers).max()
        if not np.isfinite(amax):
            return True
        return amax > 0 and math.floor(np.log2(amax)) != exact_blocks.exponent_of(Fraction(amax))

    @staticmethod
    def summed_to_the_tie(scaled, element) -> np.ndarray:
        """Tell where the distance to the neighbour below is less than a half, but with a half added is 1."""
        numbers = exact_blocks.magnitudes(element)
        low = np.minimum(np.searchsorted(numbers, np.abs(scaled), side="right") - 1, len(numbers) - 2)
        distance = (np.abs(scaled) - numbers[low]) / (numbers[low + 1] - numbers[low])
        return (distance < 0.5) & (distance + 0.5 == 1.0)


TORCHAO = "pip install torchao (and torch, which takes gigabytes)"


class TestTorchao:
    """`to_mx` and NVFP4 on the CPU."""

    @staticmethod
    def quantize(x, name: str, mode: str):
        """Return torchao's scale codes and element codes, one in each integer."""
        torch = module_of("torch", TORCHAO)
        tensors = module_of("torchao.prototype.mx_formats.mx_tensor", TORCHAO)
        config = module_of("torchao.prototype.mx_formats.config", TORCHAO)
        element = {
            "mxfp8_e4m3": torch.float8_e4m3fn,
            "mxfp8_e5m2": torch.float8_e5m2,
            "mxfp6_e2m3": "fp6_e2m3",
            "mxfp6_e3m2": "fp6_e3m2",
            "mxfp4": torch.float4_e2m1fn_x2,
        }[name]
        scales, codes = tensors.to_mx(
            torch.from_numpy(x), element, BLOCK, config.ScaleCalculationMode[mode.upper()]
        )
        return scales.view(torch.uint8).numpy(), codes.view(torch.uint8).numpy()

    @ids("name", MX[:-1])  # it has no MXINT8
    @ids("mode", ["floor", "ceil", "even", "rceil"])
    def test_every_scale_mode(self, name, mode):
        for kind in block_cases.KINDS:
            x = block_cases.data(kind, getattr(rk, name).element, (96, 192))
            scales, codes = self.quantize(x, name, mode)
            ours = rk.quantize(x, name, scale_rounding=mode)
            amax = largest(x)
            # Infinity gets a finite scale.
            right = ~np.isinf(amax)
            if mode == "rceil":
                # ceil(log2(amax / max)) in float32: one too low just above a power of two.
                divided = fractions(amax, getattr(rk, name).element.max)
                right &= ~near_power(divided, above=True)
            assert right.mean() > 0.7 or kind == "special"
            np.testing.assert_array_equal(
                block_cases.scales_of(ours)[right], scales[right], f"{name} {mode} {kind}"
            )
            # Elements beside NaN are not zero there. Where the scale is 2**-127 they are divided by 2**-126
            # ("rceil": by 1), unless they are zero anyway.
            right &= ~np.isnan(amax) & ((scales > 0) | (amax == 0))
            mine = block_cases.codes_of(ours)
            theirs = block_cases.unpacked(codes, 4, x.shape[-1]) if name == "mxfp4" else codes
            right = each_element(right)
            np.testing.assert_array_equal(mine[right], theirs[right], f"{name} {mode} {kind}")

    def test_layout(self):
        """The bytes are those of torchao: two float4 in a byte, the first in the low half."""
        x = block_cases.data("student", rk.mxfp4.element, (8, 96))
        for name in ("mxfp8_e4m3", "mxfp4"):
            scales, codes = self.quantize(x, name, "floor")
            ours = rk.quantize(x, name)
            np.testing.assert_array_equal(block_cases.as_integers(ours.codes), codes)
            np.testing.assert_array_equal(block_cases.as_integers(ours.scales), scales)

    @ids("exponent", [40, 100])
    def test_faults_are_theirs(self, exponent):
        """The scale that is to hold the largest magnitude does not."""
        amax = np.float32(6 * 2.0**exponent * (1 + 2.0**-22))
        x = np.full((1, BLOCK), amax)
        scales, _ = self.quantize(x, "mxfp4", "rceil")
        assert Fraction(6) * Fraction(2) ** (int(scales[0, 0]) - 127) < Fraction(float(amax))
        ours = block_cases.scales_of(rk.quantize(x, "mxfp4", scale_rounding="rceil"))
        assert ours[0, 0] == scales[0, 0] + 1

    @ids("exponent", [None, -9, 0, 31])
    def test_nvfp4(self, exponent):
        """With a power of two as tensor scale, torchao's order of steps in float32 makes no difference."""
        torch = module_of("torch", TORCHAO)
        nvfp4 = module_of("torchao.prototype.mx_formats.nvfp4_tensor", TORCHAO)
        plain = rk.BlockFormat("nvfp4 alone", rk.float4_e2m1fn, rk.float8_e4m3fn, 16)
        for kind in block_cases.KINDS:
            x = block_cases.data(kind, rk.float4_e2m1fn, (96, 192))
            if exponent is None:
                tensor_scale, ours = None, rk.quantize(x, plain)
            else:
                amax = 448 * 6 * 2.0**exponent
                tensor_scale = nvfp4.per_tensor_amax_to_scale(torch.tensor(amax))
                ours = rk.quantize(x, "nvfp4", amax=amax)
                assert ours.tensor_scale == tensor_scale.item() == 2.0**exponent
            scales, codes = nvfp4.nvfp4_quantize(torch.from_numpy(x), 16, tensor_scale)
            scales = scales.view(torch.uint8).numpy().reshape(x.shape[0], -1)
            mine = block_cases.scales_of(ours)
            blocks = largest(x, 16)
            # Scales are clamped to normal numbers; infinity gets a finite one.
            small = (mine < 8) & np.isfinite(blocks)
            np.testing.assert_array_equal(scales[small], 8)
            right = ~small & ~np.isinf(blocks)
            np.testing.assert_array_equal(mine[right], scales[right], f"{exponent} {kind}")
            right = each_element(right & ~np.isnan(blocks), 16)
            found = block_cases.unpacked(codes.view(torch.uint8).numpy(), 4, x.shape[-1])
            np.testing.assert_array_equal(
                block_cases.codes_of(ours)[right], found[right], f"{exponent} {kind}"
            )


MICROXCALING_NAMES = dict(
    zip(MX, ("fp8_e4m3", "fp8_e5m2", "fp6_e2m3", "fp6_e3m2", "fp4_e2m1", "int8"), strict=True)
)
MICROXCALING_MODES = {"ties-to-even": "even", "ties-to-away": "nearest", "toward-zero": "floor"}


class TestMicroxcaling:
    """Microsoft's emulation, which gives values and no codes. It is not on the package index."""

    @ids("name", MX)
    @ids("rounding", MICROXCALING_MODES)
    def test_values(self, name, rounding):
        why = "put a clone of github.com/microsoft/microxcaling on PYTHONPATH"
        mx_ops = module_of("mx.mx_ops", why)
        torch = module_of("torch", why)
        element = getattr(rk, name).element
        for kind in block_cases.KINDS:
            x = block_cases.data(kind, element, (96, 192))
            found = mx_ops._quantize_mx(
                torch.from_numpy(x),
                8,
                MICROXCALING_NAMES[name],
                axes=[-1],
                block_size=BLOCK,
                round=MICROXCALING_MODES[rounding],
            ).numpy()
            ours = rk.quantize(x, name, rounding=rounding)
            amax = largest(x)
            # floor(log2(amax)) in float32: one too high just below a power of two.
            right = each_element(~near_power(fractions(amax), above=False))
            scaled = x / each_element(np.ldexp(np.float32(1), block_cases.scales_of(ours) - 127))
            right &= ~self.wrong_element(scaled, element, rounding)
            assert right.mean() > 0.5
            np.testing.assert_array_equal(ours.dequantize()[right], found[right], f"{name} {rounding} {kind}")

    @staticmethod
    def wrong_element(scaled, element, rounding) -> np.ndarray:
        """Tell where elements are rounded wrongly, in float32.

        To nearest: a half is added, and the sum of a number just below a half is 1. Toward zero: the exponent
        comes from log2, so the step is twice as long just below powers of two.
        """
        magnitude = np.abs(scaled)
        if rounding == "toward-zero" and element.name != "int8":
            return near_power(fractions(magnitude), above=False)
        numbers = exact_blocks.magnitudes(element)
        low = np.minimum(np.searchsorted(numbers, magnitude, side="right") - 1, len(numbers) - 2)
        distance = ((magnitude - numbers[low]) / (numbers[low + 1] - numbers[low])).astype(np.float32)
        half = np.float32(0.5)
        return (distance < half) & (distance + half == 1)
