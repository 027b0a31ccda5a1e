"""NumPy's casts of ml_dtypes' dtypes with our functions.

Each test has an interpreter of its own, since the casts of a process are shared.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

PRELUDE = """
import warnings

import ml_dtypes
import numpy as np

import ramekin as rk

warnings.simplefilter("error")
WIDE = (ml_dtypes.bfloat16, ml_dtypes.float8_e8m0fnu)
SMALL = [f.dtype for f in rk.formats() if f.has_dtype and f.name != "float16"]
NATIVE = [np.dtype(c) for c in "efd?bBhHiIlLqQ"]


def bits(a):
    return a.view(f"u{a.itemsize}")


def every_code(dtype):
    return np.arange(1 << 8 * dtype.itemsize, dtype=f"u{dtype.itemsize}").view(dtype)


def told(x, dtype):
    # The result of a cast, and the messages of its floating-point warnings.
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="warn"):
        warnings.simplefilter("always")
        y = x.astype(dtype)
    return bits(y), sorted(str(w.message) for w in caught)
"""


def run(body: str, **environment: str) -> str:
    script = PRELUDE + textwrap.dedent(body)

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LEVELS = ("portable", "avx2", "avx512", "avx512bf16")


@pytest.mark.parametrize("level", LEVELS)
def test_all_codes_are_cast_to_the_same_bits_with_the_same_warnings(level):
    import ramekin._native as native

    if level not in native.isa_levels():
        pytest.skip(f"this CPU does not run {level}")
    run(
        """
        sources = [d for d in SMALL + NATIVE if d.itemsize <= 2]
        pairs = [(a, b) for a in sources for b in SMALL + NATIVE if a != b and {a, b} & set(SMALL)]
        # ml_dtypes has no casts between float8_e8m0fnu and most others. C says nothing of integers that are
        # too large, and ml_dtypes' answers change with the place in the array.
        pairs = [(a, b) for a, b in pairs if rk._native.cast_owner(a, b) is not None]
        pairs = [(a, b) for a, b in pairs if not (a in WIDE and b.kind in "iu")]
        former = {(a.char, a.num, b.num): told(every_code(a), b) for a, b in pairs}
        status = rk.accelerate()
        assert not status.refused
        assert len(pairs) > 300
        for a, b in pairs:
            right, expected = former[a.char, a.num, b.num]
            for codes in (every_code(a), every_code(a).repeat(2)[::2]):
                ours, messages = told(codes, b)
                assert (ours == right).all(), (a, b)
                assert messages == expected, (a, b)
        """,
        RAMEKIN_ISA=level,
    )


def test_float32_is_cast_to_the_same_bits():
    run(
        """
        rng = np.random.default_rng(5)
        samples = [rng.integers(0, 1 << 32, 1 << 22, dtype=np.uint32).view(np.float32)]
        for dtype in SMALL:
            values = every_code(dtype).astype(np.float32)
            values = np.unique(values[np.isfinite(values)])
            ties = values[:-1] + (values[1:] - values[:-1]) / np.float32(2)
            edges = np.concatenate([values, ties])
            around = edges.view(np.int32)[:, None] + np.arange(-2, 3, dtype=np.int32)
            samples.append(around.ravel().view(np.float32))
        with np.errstate(all="ignore"):
            former = [[bits(x.astype(d)) for x in samples] for d in SMALL]
            rk.accelerate()
            assert all(("float32", d.name) in rk.accelerate.status().casts for d in SMALL)
            for dtype, expected in zip(SMALL, former, strict=True):
                for x, right in zip(samples, expected, strict=True):
                    assert (bits(x.astype(dtype)) == right).all(), dtype
                    # One element at a time.
                    assert (bits(x[::-1].astype(dtype)) == right[::-1]).all(), dtype
        """
    )


def test_wider_numbers_are_rounded_twice_as_before():
    run(
        """
        rng = np.random.default_rng(6)
        wide = rng.integers(0, 1 << 64, 1 << 20, dtype=np.uint64)
        sources = [wide, wide.view(np.int64), wide.view(np.uint32), wide.view(np.int32)]
        sources.append(wide.view(np.float64))
        # Close to ties of the formats, where the second rounding shows.
        near = rng.standard_normal(1 << 16).astype(ml_dtypes.bfloat16).astype(np.float64)
        sources += [near * (1 + s * 2.0**-30) + t for s in (-1, 0, 1) for t in (0.0, 1 / 16)]
        sources += [(wide >> np.uint64(40)) * np.uint64(1 << 20) + np.uint64(1)]
        with np.errstate(all="ignore"):
            former = [[bits(x.astype(d)) for x in sources] for d in SMALL]
            rk.accelerate()
            for dtype, expected in zip(SMALL, former, strict=True):
                for x, right in zip(sources, expected, strict=True):
                    assert (bits(x.astype(dtype)) == right).all(), (x.dtype, dtype)
            # Unlike rk.cast, which rounds once.
            x = np.full(200, 1 + 1 / 16 + 2.0**-30)
            assert x.astype(ml_dtypes.float8_e4m3fn)[0] == 1.0
            assert rk.cast(x, "float8_e4m3fn")[0] == 1.125
        """
    )


def test_warnings_of_wide_floats_are_those_of_before():
    run(
        """
        specials = {
            "d": [1e300, 1e-300, np.inf, -np.inf, np.nan, 1 / 3, 5e-324],
            "f": [3e38, 1e-45, np.inf, np.nan, 1 / 3],
        }
        signalling = {"d": (np.uint64, 0x7FF0000000000001), "f": (np.uint32, 0xFF800001)}
        cases = []
        for code, numbers in specials.items():
            integer, word = signalling[code]
            for x in [*np.array(numbers, code), np.array([word], integer).view(code)[0]]:
                for n, place in [(5, 2), (2000, 1999), (300_000, 299_990), (-40, 3)]:
                    cases.append((code, x, n, place))

        def array(code, x, n, place):
            a = np.ones(abs(n), code)
            a[place : place + 1] = np.array([x], code)
            return a if n > 0 else a[::-1]

        former = [told(array(*case), d) for case in cases for d in SMALL]
        assert len({tuple(messages) for _, messages in former}) == 4
        rk.accelerate()
        rk.set_num_threads(4)
        ours = [told(array(*case), d) for case in cases for d in SMALL]
        for (right, expected), (codes, messages) in zip(former, ours, strict=True):
            assert (codes == right).all()
            assert messages == expected
        with np.errstate(over="raise"):
            try:
                np.full(1000, 1e300).astype(ml_dtypes.float8_e5m2)
            except FloatingPointError as error:
                assert "overflow encountered in cast" in str(error)
            else:
                raise AssertionError("no error")
        """
    )


def test_casts_used_before_are_taken_too():
    run(
        """
        x = np.linspace(-500, 500, 5000, dtype=np.float32)
        before = bits(x.astype(ml_dtypes.float8_e4m3fn))
        np.can_cast(ml_dtypes.bfloat16, np.float32)
        assert rk.accelerate.status().casts == () and not rk.accelerate.status().active
        rk.accelerate()
        f32, e4m3 = np.dtype(np.float32), np.dtype(ml_dtypes.float8_e4m3fn)
        assert ("float32", "float8_e4m3fn") in rk.accelerate.status().casts
        rk._native.cast_was_called(f32, e4m3)
        for _ in range(100):
            assert (bits(x.astype(e4m3)) == before).all()
            np.can_cast(f32, e4m3, "unsafe")
        assert rk._native.cast_was_called(f32, e4m3)
        """
    )


def test_it_may_be_called_again_and_undone():
    run(
        """
        first = rk.accelerate()
        assert first == rk.accelerate() == rk.accelerate.status()
        assert first.active and len(first.casts) > 300
        assert str(first) == f"{len(first.casts)} casts accelerated"
        y = np.ones(3000, np.float32).astype(ml_dtypes.float8_e5m2)
        rk.accelerate.undo()
        assert rk.accelerate.status() == rk.AccelerateStatus(())
        f32, e5m2 = np.dtype(np.float32), np.dtype(ml_dtypes.float8_e5m2)
        rk._native.cast_was_called(f32, e5m2)
        assert (np.ones(3000, np.float32).astype(e5m2) == y).all()
        assert not rk._native.cast_was_called(f32, e5m2)
        assert rk._native.cast_owner(f32, e5m2) == "other"
        rk.accelerate()
        assert rk._native.cast_owner(f32, e5m2) == "ramekin"
        """
    )


def test_importing_changes_no_cast():
    run("assert not rk.accelerate.status().active")


def test_what_numpy_does_not_call_is_refused():
    run(
        """
        real = rk._native.take_cast
        f32, e4m3 = np.dtype(np.float32), np.dtype(ml_dtypes.float8_e4m3fn)

        def take(source, target, *answers):
            if (source, target) != (f32, e4m3):
                real(source, target, *answers)

        rk._native.take_cast = take
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            status = rk.accelerate()
        assert list(status.refused) == [("float32", "float8_e4m3fn")]
        assert "float32 to float8_e4m3fn" in str(caught[0].message)
        assert "call rk.accelerate() right after the imports" in str(caught[0].message)
        assert ("float32", "float8_e4m3fn") not in status.casts
        """
    )


def test_other_bits_are_refused():
    run(
        """
        import ramekin.accelerate as module_attribute
        import sys

        module = sys.modules["ramekin.accelerate"]
        real = module._bits
        calls = []

        def bits(array):
            # Once for ml_dtypes' results, once for ours: the first pair's differ by one.
            calls.append(array)
            return real(array) + np.array(len(calls) == 2, f"u{array.itemsize}")

        module._bits = bits
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            status = rk.accelerate()
        assert len(status.refused) == 1
        ((source, target), reason), = status.refused.items()
        assert "this ml_dtypes gives other bits" in reason and reason in str(caught[0].message)
        assert (source, target) not in status.casts
        assert rk._native.cast_owner(np.dtype(source), np.dtype(target)) == "other"
        assert "1 refused" in str(status)
        """
    )


def test_arrays_of_every_layout_and_size():
    run(
        """
        rng = np.random.default_rng(7)
        base = rng.standard_normal((64, 300)).astype(np.float32) * 100
        views = [base, base.T, base[::-1, ::3], base[:, 7:], base[:, :1], base[:0], base[0, 0]]
        views.append(base.astype(">f4"))
        views += [base.ravel()[:n] for n in (1, 31, 127, 128, 129, 1023, 1024, 1025)]
        raw = np.zeros(4 * 2000 + 1, np.uint8)[1:].view(np.float32)
        raw[:] = base.ravel()[:2000]
        views.append(raw)
        former = [[bits(np.asarray(v).astype(d, order="C")).tolist() for v in views] for d in SMALL]
        rk.accelerate()
        ours = [[bits(np.asarray(v).astype(d, order="C")).tolist() for v in views] for d in SMALL]
        assert former == ours
        record = np.zeros(500, [("a", np.float32), ("b", ml_dtypes.bfloat16)])
        record["a"] = base.ravel()[:500]
        record["b"] = record["a"]
        assert (record["b"] == record["a"].astype(ml_dtypes.bfloat16)).all()
        """
    )


def test_threads_cast_while_casts_are_taken_and_given_back():
    run(
        """
        import threading

        x = np.random.default_rng(8).standard_normal(50_000).astype(np.float32)
        right = {d: bits(x.astype(d)).copy() for d in SMALL}
        failures, stop = [], threading.Event()

        def work(dtype):
            while not stop.is_set():
                if not (bits(x.astype(dtype)) == right[dtype]).all():
                    failures.append(dtype)

        threads = [threading.Thread(target=work, args=(d,), daemon=True) for d in SMALL[:8]]
        for thread in threads:
            thread.start()
        for _ in range(3):
            rk.accelerate()
            rk.accelerate.undo()
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
        """
    )


def test_an_isa_that_is_none_is_told():
    run(
        """
        try:
            rk.accelerate()
        except ValueError as error:
            assert "RAMEKIN_ISA" in str(error)
        else:
            raise AssertionError("no error")
        assert not rk.accelerate.status().active
        """,
        RAMEKIN_ISA="sse9",
    )


def test_other_dtypes_are_refused_by_name():
    run(
        """
        try:
            rk._native.take_cast(np.dtype(np.complex64), np.dtype(ml_dtypes.bfloat16), None)
        except TypeError as error:
            assert "no casts of complex64 are replaced" in str(error)
        else:
            raise AssertionError("no error")
        try:
            rk._native.take_cast(np.dtype(ml_dtypes.float8_e5m2), np.dtype(np.int8), [0])
        except ValueError as error:
            assert "a byte has 256 codes" in str(error)
        else:
            raise AssertionError("no error")
        codes = bytes(1 << 16)
        for target, answers, message in [
            (ml_dtypes.bfloat16, codes, "bfloat16 is no dtype of ml_dtypes of 8 bits"),
            (ml_dtypes.float8_e5m2, codes[1:], "16 bits have 65536 codes"),
        ]:
            try:
                rk._native.keep_answers(np.dtype(target), codes, answers)
            except ValueError as error:
                assert message in str(error)
            else:
                raise AssertionError("no error")
        """
    )
