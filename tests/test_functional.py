"""The functions of training against exact arithmetic, the C library in float64, and themselves elsewhere."""

from __future__ import annotations

import math
import re
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

import ramekin as rk
from conftest import run_python
from hostile import assert_environment_does_not_show, needs_mxcsr
from ramekin import _native

F = rk.functional
F32 = np.float32


def numbers(shape, seed=0, spread=6.0):
    """Numbers of mixed sign and magnitude."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * np.exp2(rng.uniform(-spread, spread, shape))).astype(F32)


def ulps(y, right):
    """How far a float32 is from an exact number, in units in the last place there."""
    unit = Fraction(2) ** (max(math.frexp(float(right))[1] - 1, -126) - 23)
    return abs(Fraction(float(y)) - Fraction(right)) / unit


BOUND = Fraction(5001, 10000)

# Beyond float64: 60 digits.
EXACT = {
    "exp": lambda x: x.exp(),
    "log": lambda x: x.ln(),
    "tanh": lambda x: 1 - 2 / ((2 * x).exp() + 1),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "silu": lambda x: x / (1 + (-x).exp()),
    "rsqrt": lambda x: 1 / x.sqrt(),
    "sqrt": lambda x: x.sqrt(),
}


@pytest.mark.parametrize("name", EXACT)
def test_functions_against_sixty_digits(name):
    x = np.concatenate([numbers(300), F32([1e-3, 1 - 2**-24, 1 + 2**-23, 1e-40, 3e38, 88.72, -87.4, -103.9])])
    if name in ("log", "rsqrt", "sqrt"):
        x = np.abs(x)
    elif name != "silu":
        x = x[np.abs(x) < 1000]
    y = getattr(F, name)(x)
    with localcontext() as context:
        context.prec = 60
        for argument, value in zip(x, y, strict=True):
            right = EXACT[name](Decimal(float(argument)))
            if abs(right) > Decimal(float(np.finfo(F32).max)):
                assert np.isinf(value)
            else:
                assert ulps(value, Fraction(right)) <= BOUND, (argument, value)


def exact_erf(x):
    """By Taylor's series with 120 digits; erf(x) = 2 / sqrt(pi) sum (-1)^n x^(2n+1) / (n! (2n+1))."""
    term, total, n = x, x, 0
    while abs(term) > Decimal(10) ** -110:
        n += 1
        term = -term * x * x / n
        total += term / (2 * n + 1)
    pi = Decimal(
        "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798"
    )
    return 2 / pi.sqrt() * total


def test_erf_and_gelu_against_a_series():
    x = np.concatenate(
        [numbers(150, 3, 3.0), F32([1e-40, 0.5, np.nextafter(F32(0.5), F32(0)), 3.9, -5.0, -7.5])]
    )
    x = x[np.abs(x) < 8]
    with localcontext() as context:
        context.prec = 120
        root = Decimal(2).sqrt()
        for argument, erf, gelu in zip(x, F.erf(x), F.gelu(x), strict=True):
            exact = Decimal(float(argument))
            assert ulps(erf, Fraction(exact_erf(exact))) <= BOUND, argument
            phi = (1 + exact_erf(exact / root)) / 2
            assert ulps(gelu, Fraction(exact * phi)) <= BOUND, argument


def test_gelu_by_tanh_is_its_formula():
    x = numbers(300, 4, 3.0)
    with localcontext() as context:
        context.prec = 60
        c = (2 / Decimal("3.14159265358979323846264338327950288419716939937510582097494459")).sqrt()
        for argument, value in zip(x, F.gelu(x, approximate="tanh"), strict=True):
            e = Decimal(float(argument))
            u = c * (e + Decimal("0.044715") * e**3)
            right = e / (1 + (-2 * u).exp())
            if abs(right) > Decimal("1e-46"):
                assert ulps(value, Fraction(right)) <= BOUND, argument
            else:
                assert value == 0


def test_specials():
    x = F32([0.0, -0.0, np.inf, -np.inf, np.nan, -1.0])
    nan, inf = F32(np.nan), np.inf
    for name, right in {
        "exp": [1, 1, inf, 0, nan, math.exp(-1)],
        "log": [-inf, -inf, inf, nan, nan, nan],
        "tanh": [0.0, -0.0, 1, -1, nan, math.tanh(-1)],
        "sigmoid": [0.5, 0.5, 1, 0, nan, 1 / (1 + math.e)],
        "silu": [0.0, -0.0, inf, -0.0, nan, -1 / (1 + math.e)],
        "erf": [0.0, -0.0, 1, -1, nan, math.erf(-1)],
        "gelu": [0.0, -0.0, inf, -0.0, nan, -0.5 * math.erfc(math.sqrt(0.5))],
        "relu": [0.0, 0.0, inf, 0.0, nan, 0.0],
        "sqrt": [0.0, -0.0, inf, nan, nan, nan],
        "rsqrt": [inf, -inf, 0.0, nan, nan, nan],
    }.items():
        y = getattr(F, name)(x)
        assert y.tobytes() == F32(right).tobytes(), name


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_tanh", "relu"])
def test_gradients_against_differences(name):
    """Central differences of the formula in float64, whose error is some 1e-9 here."""
    x, dy = numbers(1000, 5, 2.0), numbers(1000, 6, 2.0)
    x = x[np.abs(x) > 1e-3]
    dy = dy[: len(x)]

    def function(v):
        if name == "silu":
            return v / (1 + math.exp(-v))
        if name == "relu":
            return max(v, 0.0)
        if name == "gelu":
            return v * 0.5 * math.erfc(-v / math.sqrt(2))
        return 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))

    if name == "gelu_tanh":
        dx = F.gelu_gradient(x, dy, approximate="tanh")
    else:
        dx = getattr(F, f"{name}_gradient")(x, dy)
    h = 1e-5
    slope = np.array([(function(float(v) + h) - function(float(v) - h)) / (2 * h) for v in x])
    np.testing.assert_allclose(dx, dy * slope, rtol=2**-23, atol=1e-7)


def test_relu_gradient_takes_nothing_where_the_input_is_not_above_zero():
    x, dy = F32([-1, 0, np.nan, 2, 3]), F32([np.inf, np.nan, 1, np.inf, -0.0])
    assert F.relu_gradient(x, dy).tobytes() == F32([0, 0, 0, np.inf, -0.0]).tobytes()


def lanes(terms):
    """The documented sum, in float64."""
    total = np.float64(0)
    for start in range(0, len(terms), 1 << 16):
        piece = terms[start : start + (1 << 16)]
        lane = [np.float64(0)] * 16
        for k, term in enumerate(piece):
            lane[k % 16] += term
        for half in (8, 4, 2, 1):
            for i in range(half):
                lane[i] += lane[i + half]
        total += lane[0]
    return F32(total)


@pytest.mark.parametrize("shape", [(1,), (5, 17), (2, 3, 40), (2, 70_000)])
def test_sums_are_in_the_documented_order(shape):
    x = numbers(shape, 7, 60.0)
    rows = x.reshape(-1, shape[-1]).astype(np.float64)
    assert (F.sum(x).reshape(-1) == [lanes(row) for row in rows]).all()
    assert (F.sum_of_squares(x).reshape(-1) == [lanes(row * row) for row in rows]).all()
    assert (F.max(x) == x.max(-1)).all()
    assert F.sum(x, None) == lanes(rows.reshape(-1))
    column = np.zeros(shape[1:], np.float64)
    for row in x:
        column = column + row.astype(np.float64)
    assert (F.sum(x, 0) == column.astype(F32)).all()


def test_sums_of_nothing_and_shapes():
    assert F.sum(np.ones((3, 0), F32)).tolist() == [0, 0, 0]
    assert F.sum(np.ones((0, 3), F32)).shape == (0,)
    assert F.sum(np.ones((0, 3), F32), 0).tolist() == [0, 0, 0]
    assert F.sum(np.ones((3, 0), F32), 0).shape == (0,)
    assert F.sum(np.ones((), F32), None) == 1
    assert F.sum(np.ones((0,), F32), None) == 0
    assert F.sum_of_squares(np.full((2, 3, 4), 2, F32)).tolist() == [[16] * 3] * 2


def test_softmax_rows_against_float64():
    x = numbers((200, 37), 8, 3.0)
    shifted = x.astype(np.float64) - x.max(-1, keepdims=True)
    e = np.exp(shifted)
    right = e / e.sum(-1, keepdims=True)
    y = F.softmax(x)
    assert (np.abs(y - right) <= 0.5001 * np.spacing(np.abs(right).astype(F32)) + 2**-150).all()
    np.testing.assert_allclose(
        F.log_softmax(x), shifted - np.log(e.sum(-1, keepdims=True)), rtol=2**-23, atol=1e-14
    )
    dy = numbers(x.shape, 9)
    exact = y.astype(np.float64) * (dy - (y.astype(np.float64) * dy).sum(-1, keepdims=True))
    np.testing.assert_allclose(F.softmax_gradient(y, dy), exact, rtol=2**-23, atol=1e-12)
    labels = np.random.default_rng(0).integers(0, 37, 200).astype(np.uint8)
    loss, gradient = F.cross_entropy(x, labels, scale=8.0)
    picked = shifted[np.arange(200), labels] - np.log(e.sum(-1))
    assert isinstance(loss, F32)
    np.testing.assert_allclose(loss, -picked.mean(), rtol=2**-23)
    right[np.arange(200), labels] -= 1
    np.testing.assert_allclose(gradient, right * (8.0 / 200), rtol=2**-23, atol=1e-15)


def test_a_label_of_no_probability_has_an_infinite_loss():
    loss, gradient = F.cross_entropy(F32([[0, -np.inf]]), [1])
    assert loss == np.inf
    assert gradient.tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize("centred", [True, False])
def test_norm_gradients_against_differences(centred):
    x, w, b, dy = numbers((3, 9), 1, 1.0), numbers(9, 2, 1.0), numbers(9, 3, 1.0), numbers((3, 9), 4, 1.0)

    def norm(x, w, b):
        x = x - x.mean(-1, keepdims=True) if centred else x
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w + b

    wide = [array.astype(np.float64) for array in (x, w, b if centred else np.zeros(9))]
    if centred:
        y, got = F.layer_norm(x, w, b), F.layer_norm_gradient(x, w, dy)
    else:
        y, got = F.rms_norm(x, w), F.rms_norm_gradient(x, w, dy)
    np.testing.assert_allclose(y, norm(*wide), rtol=2**-23, atol=1e-14)
    for position, gradient in enumerate(got):
        numeric = np.zeros(gradient.shape)
        for at in np.ndindex(gradient.shape):
            values = []
            for h in (1e-6, -1e-6):
                moved = [array.copy() for array in wide]
                moved[position][at] += h
                values.append((norm(*moved) * dy).sum())
            numeric[at] = (values[0] - values[1]) / 2e-6
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-6)


def sgd_in_numpy(value, gradients, lr, momentum, decay):
    """Array operations one after the other, each of which NumPy rounds to float32."""
    p, buffer = value.copy(), None
    for g in gradients:
        if decay:
            g = g + F32(decay) * p
        if momentum:
            buffer = g.copy() if buffer is None else buffer * F32(momentum) + g
            g = buffer
        p = p - F32(lr) * g
    return p


def adamw_in_numpy(value, gradients, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=1e-2):
    p, m, v = value.copy(), np.zeros_like(value), np.zeros_like(value)
    for t, g in enumerate(gradients, 1):
        power1, power2 = math.prod([beta1] * t), math.prod([beta2] * t)
        m = m + F32(1 - beta1) * (g - m)
        v = v * F32(beta2) + F32(1 - beta2) * (g * g)
        d = np.sqrt(v) / F32(math.sqrt(1 - power2)) + F32(eps)
        p = p * F32(1 - lr / t * decay) - F32(lr / t / (1 - power1)) * (m / d)
    return p


def test_steps_and_optimisers_are_their_formulas():
    value, gradients = numbers((40, 30), 1, 2.0), [numbers((40, 30), seed, 2.0) for seed in range(2, 6)]
    for momentum, decay in ((0.0, 0.0), (0.9, 0.0), (0.9, 0.01), (0.0, 0.1)):
        parameter = rk.nn.Parameter(value)
        optimizer = rk.optim.SGD([parameter], 0.05, momentum=momentum, weight_decay=decay)
        ours, buffer = value.copy(), np.full_like(value, np.nan) if momentum else None
        for step, gradient in enumerate(gradients):
            parameter.grad = gradient
            optimizer.step()
            F.sgd_step(
                ours, gradient, buffer, lr=0.05, momentum=momentum, weight_decay=decay, first=step == 0
            )
        right = sgd_in_numpy(value, gradients, 0.05, momentum, decay)
        assert ours.tobytes() == parameter.value.tobytes() == right.tobytes()
    parameter = rk.nn.Parameter(value)
    optimizer = rk.optim.AdamW([parameter], 0.02)
    ours, mean, square = value.copy(), np.zeros_like(value), np.zeros_like(value)
    for step, gradient in enumerate(gradients, 1):
        parameter.grad = gradient
        optimizer.step(0.02 / step)
        F.adamw_step(ours, gradient, mean, square, step=step, lr=0.02 / step)
    # Up to the fourth step powers by squaring are those of a plain product, but for the last bit of float64.
    right = adamw_in_numpy(value, gradients, 0.02)
    assert ours.tobytes() == parameter.value.tobytes() == right.tobytes()


def test_sums_and_factors_are_float32s():
    x, y = numbers((70, 50)), numbers((70, 50), 1)
    assert F.add(x, y).tobytes() == (x + y).tobytes()
    assert F.add(x.T, y.T, out=(out := x.copy()).T).base is out
    assert out.tobytes() == (x + y).tobytes()
    for view in (x.copy(), np.asfortranarray(x), np.repeat(x, 2, 1)[:, ::2]):
        F.add_bias(view, y[0])
        assert view.tobytes() == (x + y[0]).tobytes()
        assert F.scale(view, 0.3)
        assert view.tobytes() == ((x + y[0]) * F32(0.3)).tobytes()
        assert F.all_finite(view)
        view[60, 40] = 3e38
        assert not F.scale(view, 2)
        assert not F.all_finite(view)
    assert F.all_finite(np.zeros((0, 3), F32))
    assert not F.all_finite(F32([[1, np.nan]]))


def test_totals_are_exact_in_float64_and_in_order():
    x = numbers(70_000, 3, 60.0)
    assert F.total_of_squares(x[:60_000]) == pytest.approx(
        math.fsum(x[:60_000].astype(float) ** 2), rel=1e-12
    )
    pieces = [F.total_of_squares(part) for part in (x[: 1 << 16], x[1 << 16 :])]
    assert F.total_of_squares(x) == pieces[0] + pieces[1]
    assert F32(F.total_of_squares(x)) == F.sum_of_squares(x)
    assert F.total_of_squares(F32([2.0**-149])) == 2.0**-298
    assert F.total_of_squares(F32([3e38, 3e38])) == 2 * float(F32(3e38)) ** 2
    assert F.total_of_squares(F32([])) == 0


def test_sums_by_label():
    x, labels = numbers((300, 17), 4), np.random.default_rng(0).integers(0, 9, 300).astype(np.uint8)
    right = np.zeros((12, 17))
    for row, label in zip(x, labels, strict=True):
        right[label] += row
    assert F.sum_by_label(x, labels, 12).tobytes() == right.astype(F32).tobytes()
    assert F.sum_by_label(x[:0], labels[:0], 2).tolist() == [[0] * 17] * 2


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_squared_error_against_exact_arithmetic(scale):
    x, targets = numbers((40, 7), 1), numbers((40, 7), 2)
    loss, gradient = F.squared_error(x, targets, scale=scale)
    differences = [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(x.flat, targets.flat, strict=True)]
    assert isinstance(loss, F32)
    assert ulps(loss, sum(d * d for d in differences) / 280) <= BOUND
    for got, d in zip(gradient.flat, differences, strict=True):
        assert ulps(got, d * Fraction(2 * scale) / 280) <= BOUND


def philox_words(seed, count):
    """Philox4x32-10 of Salmon et al. 2011 in plain integers: words 0 to count - 1 under a key."""
    words = []
    for block in range(-(-count // 4)):
        c, k = [block % 2**32, block >> 32, 0, 0], [seed % 2**32, seed >> 32]
        for _ in range(10):
            left, right = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [right >> 32 ^ c[1] ^ k[0], right % 2**32, left >> 32 ^ c[3] ^ k[1], left % 2**32]
            k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
        words += c
    return words[:count]


def to_bfloat16(x, word):
    """Up in magnitude where the discarded half and the upper half of the word carry, in integers."""
    bits = int(np.asarray(x, F32).view(np.uint32))
    kept, lost = bits >> 16, bits & 0xFFFF
    return kept + (lost + (word >> 16) >= 1 << 16)


@pytest.mark.parametrize("seed", [0, 2**64 - 5])
def test_short_states_are_rounded_by_their_words(seed):
    shape = (9, 23)
    value, gradient = numbers(shape, 1, 2.0), numbers(shape, 2, 2.0)
    start = [numbers(shape, 3, 2.0), np.abs(numbers(shape, 4, 2.0))]
    mean, square = (state.astype(rk.bfloat16.dtype) for state in start)
    exact = [state.astype(F32) for state in (mean, square)]
    ours, other = value.copy(), 12345
    F.adamw_step_bfloat16(ours, gradient, mean, square, seeds=(seed, other), step=3, lr=0.1)
    right = value.copy()
    F.adamw_step(right, gradient, *exact, step=3, lr=0.1)
    assert ours.tobytes() == right.tobytes()
    for state, unrounded, key in zip((mean, square), exact, (seed, other), strict=True):
        codes = [to_bfloat16(x, word) for x, word in zip(unrounded.flat, philox_words(key, 207), strict=True)]
        assert state.view(np.uint16).ravel().tolist() == codes
    for first in (True, False):
        buffer = start[0].astype(rk.bfloat16.dtype)
        exact_buffer, ours, right = buffer.astype(F32), value.copy(), value.copy()
        how = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "first": first}
        F.sgd_step_bfloat16(ours, gradient, buffer, seed=seed, **how)
        F.sgd_step(right, gradient, exact_buffer, **how)
        assert ours.tobytes() == right.tobytes()
        codes = [
            to_bfloat16(x, word) for x, word in zip(exact_buffer.flat, philox_words(seed, 207), strict=True)
        ]
        assert buffer.view(np.uint16).ravel().tolist() == codes


def test_dropout_keeps_by_its_words():
    x = numbers((7, 31))
    words = np.array(philox_words(99, 217)).reshape(7, 31)
    for p in (0.0, 0.1, 0.5):
        factor = F32(1 / (1 - p))
        right = np.where(words >= p * 2**32, x * factor, F32(0))
        assert F.dropout(x, p, seed=99).tobytes() == right.tobytes()
    assert F.dropout(np.full(4, np.nan, F32), 1 - 2**-40, seed=1).tolist() == [0] * 4


def test_steps_change_arrays_of_any_layout():
    value, gradient = numbers((6, 5)), numbers((6, 5), 1)
    right, mean, square = value.copy(), np.zeros_like(value), np.zeros_like(value)
    F.adamw_step(right, gradient, mean, square, step=1, lr=0.1)
    strided = np.zeros((6, 10), F32)[:, ::2]
    strided[...] = value
    means, squares = np.zeros((5, 6), F32).T, np.zeros((6, 5), F32)
    F.adamw_step(strided, gradient[:, ::-1][:, ::-1], means, squares, step=1, lr=0.1)
    for got, wanted in ((strided, right), (means, mean), (squares, square)):
        assert got.tobytes() == wanted.tobytes()
    F.sgd_step(right, gradient, lr=0.5)
    F.sgd_step(strided, gradient, lr=0.5)
    assert strided.tobytes() == right.tobytes()


def test_layouts_and_out():
    x = numbers((30, 20))
    right = F.exp(x)
    assert F.exp(np.asfortranarray(x)).tobytes() == right.tobytes()
    assert F.exp(x.astype(">f4")).tobytes() == right.tobytes()
    assert F.exp(x[::-1])[::-1].tobytes() == right.tobytes()
    for out in (
        np.empty((30, 20), F32),
        np.empty((20, 30), F32).T,
        np.empty((30, 40), F32)[:, ::2],
        x.copy(),
    ):
        source = out if out.flags.owndata and out.flags.c_contiguous and (out == x).all() else x
        assert F.exp(source, out=out) is out
        assert out.tobytes() == right.tobytes()
    y = x.copy()
    assert F.softmax(y, out=y) is y
    assert y.tobytes() == F.softmax(x).tobytes()
    y = x.copy()
    loss, gradient = F.cross_entropy(y, np.arange(30) % 20, out=y)
    assert gradient is y
    assert (loss, y.tobytes()) == ((again := F.cross_entropy(x, np.arange(30) % 20))[0], again[1].tobytes())


ALL = """
import hashlib, numpy as np, ramekin as rk
F = rk.functional
def run():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 1 << 32, 1 << 18, dtype=np.uint32).view(np.float32)
    n = (np.arange(1 << 18, dtype=np.float32).reshape(-1, 512) % 97 - 48) / 16
    dy, w = n[::-1] / 8, n[0] + 4
    made = [getattr(F, f)(x) for f in
            ("exp", "log", "tanh", "sigmoid", "silu", "erf", "gelu", "relu", "sqrt", "rsqrt")]
    made += [F.gelu(x, approximate="tanh"), F.silu_gradient(x, n.ravel()), F.gelu_gradient(x, n.ravel())]
    made += [F.gelu_gradient(x, n.ravel(), approximate="tanh"), F.relu_gradient(x, n.ravel())]
    made += [F.sum(n), F.sum(n, None), F.sum(n * 0.1, 0), F.sum_of_squares(n, None), F.max(n)]
    made += [F.softmax(n), F.log_softmax(n), F.softmax_gradient(F.softmax(n), dy)]
    made += list(F.cross_entropy(n, np.arange(len(n)), scale=3.0))
    made += [F.layer_norm(n, w, w), *F.layer_norm_gradient(n, w, dy)]
    made += [F.rms_norm(n, w), *F.rms_norm_gradient(n, w, dy)]
    p, b, m, v = n * 1, dy * 1, dy * 1, dy * dy
    F.sgd_step(p, dy, b, lr=0.3, momentum=0.9, weight_decay=0.1)
    F.adamw_step(p, dy, m, v, step=7, lr=0.1)
    made += [p, b, m, v]
    F.add_bias(p, w)
    F.scale(p, 0.3)
    m, v, b = (a.astype(rk.bfloat16.dtype) for a in (m, v, b))
    F.sgd_step_bfloat16(p, dy, b, seed=1, lr=0.3, momentum=0.9)
    F.adamw_step_bfloat16(p, dy, m, v, seeds=(2, 3), step=7, lr=0.1)
    made += [p, b, m, v, F.add(p, dy), F.dropout(p, 0.3, seed=4), *F.squared_error(n, dy)]
    made += [F.sum_by_label(n, np.arange(512) % 37, 40), np.float64(F.total_of_squares(n))]
    return hashlib.sha256(b"".join(array.tobytes() for array in made)).hexdigest()
"""


def test_the_same_bits_on_every_level_and_number_of_threads():
    for_all = ALL + "for threads in (1, 2, 3):\n    rk.set_num_threads(threads)\n    print(run())"
    outputs = [run_python(for_all, RAMEKIN_ISA=level) for level in _native.isa_levels()]
    digests = [done.stdout.split() for done in outputs]
    assert all(len(each) == 3 for each in digests), outputs[0].stderr
    assert len({digest for each in digests for digest in each}) == 1


@needs_mxcsr
def test_bits_do_not_depend_on_the_floating_point_environment():
    # Inputs are made by float32 operations of NumPy that are exact in any environment.
    exact = ALL.replace("n * 0.1", "n").replace("dy * dy", "abs(dy)")
    assert_environment_does_not_show(exact)


DIGEST = "b71efc287a7e15aa166e8667cb2660c787ef114f1e02bc67e9374f58bb4e4845"


def test_bits_are_these():
    """On every machine: the digest of what the functions make."""
    names: dict[str, object] = {}
    exec(ALL, names)
    run = names["run"]
    assert callable(run)
    assert run() == DIGEST


ONES = np.ones((2, 3), F32)
SHORT = ONES.astype(rk.bfloat16.dtype)
READ_ONLY = np.ones((2, 3), F32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: F.add(ONES, ONES[0]),
            ValueError,
            "add: y has shape (3,), but x has shape (2, 3)",
        ),
        (
            lambda: F.add_bias(ONES, ONES[:, 0]),
            ValueError,
            "add_bias: bias has shape (2,), but x has shape (2, 3)",
        ),
        (lambda: F.scale(READ_ONLY, 2), ValueError, "scale: x is read-only"),
        (lambda: F.scale([1.0], 2), TypeError, "scale: x must be a native float32 array, not list"),
        (
            lambda: F.all_finite(np.ones(3)),
            TypeError,
            "all_finite: x must be a float32 array, not of float64",
        ),
        (
            lambda: F.dropout(ONES, 1.0, seed=0),
            ValueError,
            "dropout: p must be at least 0 and below 1, got 1.0",
        ),
        (
            lambda: F.dropout(ONES, 0.5, seed=-1),
            ValueError,
            "dropout: seed must be from 0 to 2**64 - 1, got -1",
        ),
        (
            lambda: F.sum_by_label(ONES[0], [0], 3),
            ValueError,
            "sum_by_label: x must have shape (rows, n), n at least 1, not (3,)",
        ),
        (
            lambda: F.sum_by_label(ONES, [0.0, 1.0], 3),
            TypeError,
            "sum_by_label: labels must be integers, not of float64",
        ),
        (
            lambda: F.sum_by_label(ONES, [0], 3),
            ValueError,
            "sum_by_label: labels have shape (1,), but x has 2 rows",
        ),
        (
            lambda: F.sum_by_label(ONES, [0, 3], 3),
            ValueError,
            "sum_by_label: labels run from 0 to 3, accepted are 0 to 2",
        ),
        (
            lambda: F.squared_error(ONES[:0], ONES[:0]),
            ValueError,
            "squared_error: x has no element; there is no mean of nothing",
        ),
        (
            lambda: F.sgd_step_bfloat16(ONES, ONES, ONES, seed=0, lr=1),
            TypeError,
            "sgd_step_bfloat16: buffer must be a bfloat16 array, not an array of float32",
        ),
        (
            lambda: F.adamw_step_bfloat16(ONES, ONES, SHORT, SHORT[0], seeds=(0, 0), step=1, lr=1),
            ValueError,
            "adamw_step_bfloat16: square has shape (3,), but value has shape (2, 3)",
        ),
        (
            lambda: F.adamw_step_bfloat16(ONES.T, ONES.T, SHORT.T, SHORT.T, seeds=(0, 0), step=1, lr=1),
            ValueError,
            "adamw_step_bfloat16: mean must be writeable and C-contiguous",
        ),
        (
            lambda: F.sgd_step_bfloat16(ONES, ONES, SHORT, seed=2**64, lr=1),
            ValueError,
            "sgd_step_bfloat16: a seed must be from 0 to 2**64 - 1, got 18446744073709551616",
        ),
        (
            lambda: F.adamw_step_bfloat16(ONES, ONES, SHORT, SHORT, seeds=(0, 0), step=0, lr=1),
            ValueError,
            "adamw_step_bfloat16: steps are counted from 1, got 0",
        ),
        (lambda: F.exp(np.ones(3)), TypeError, "exp: x must be a float32 array, not of float64"),
        (lambda: F.sum([1, 2]), TypeError, "sum: x must be a float32 array, not of int64"),
        (lambda: F.tanh(ONES, out=[1]), TypeError, "tanh: out must be a native float32 array, not list"),
        (
            lambda: F.tanh(ONES, out=np.ones((2, 3))),
            TypeError,
            "tanh: out must be a native float32 array, not an array of float64",
        ),
        (lambda: F.log(ONES, out=ONES[0]), ValueError, "log: out has shape (3,), the result (2, 3)"),
        (lambda: F.log(ONES, out=READ_ONLY), ValueError, "log: out is read-only"),
        (
            lambda: F.gelu(ONES, approximate="erf"),
            ValueError,
            "gelu: approximate must be 'none' or 'tanh', got 'erf'",
        ),
        (
            lambda: F.silu_gradient(ONES, ONES[0]),
            ValueError,
            "silu_gradient: dy has shape (3,), but x has shape (2, 3)",
        ),
        (lambda: F.sum(ONES, 1), ValueError, "sum: axis must be -1, 0 or None, got 1"),
        (lambda: F.max(ONES, 0), ValueError, "max: axis must be -1 or None, got 0"),
        (lambda: F.sum(F32(1)), ValueError, "sum: x has no axis; accepted for a scalar: axis=None"),
        (
            lambda: F.max(np.ones((2, 0), F32)),
            ValueError,
            "max: x needs a last axis of at least one element, but has shape (2, 0)",
        ),
        (
            lambda: F.softmax(F32(1)),
            ValueError,
            "softmax: x needs a last axis of at least one element, but has shape ()",
        ),
        (
            lambda: F.cross_entropy(ONES[0], [0]),
            ValueError,
            "cross_entropy: x must have shape (rows, classes), at least one of each, not (3,)",
        ),
        (
            lambda: F.cross_entropy(ONES, [0.0, 1.0]),
            TypeError,
            "cross_entropy: labels must be integers, not of float64",
        ),
        (
            lambda: F.cross_entropy(ONES, [0]),
            ValueError,
            "cross_entropy: labels have shape (1,), but x has 2 rows",
        ),
        (
            lambda: F.cross_entropy(ONES, [-1, 3]),
            ValueError,
            "cross_entropy: labels run from -1 to 3, accepted are 0 to 2",
        ),
        (
            lambda: F.layer_norm(ONES, ONES[0, :2]),
            ValueError,
            "layer_norm: weight has shape (2,), but x has rows of 3",
        ),
        (
            lambda: F.layer_norm(ONES, ONES[0], ONES),
            ValueError,
            "layer_norm: bias has shape (2, 3), but x has rows of 3",
        ),
        (
            lambda: F.rms_norm(ONES, ONES[0], eps=-1.0),
            ValueError,
            "rms_norm: eps must be finite and not negative, got -1.0",
        ),
        (
            lambda: F.sgd_step(ONES.copy(), ONES, lr=1.0, momentum=0.5),
            ValueError,
            "sgd_step: momentum 0.5 needs a buffer",
        ),
        (lambda: F.sgd_step(READ_ONLY, ONES, lr=1.0), ValueError, "sgd_step: value is read-only"),
        (
            lambda: F.sgd_step(np.ones(3), ONES, lr=1.0),
            TypeError,
            "sgd_step: value must be a native float32 array, not an array of float64",
        ),
        (
            lambda: F.adamw_step(ONES.copy(), ONES, ONES.copy(), ONES.copy(), step=0, lr=1.0),
            ValueError,
            "adamw_step: steps are counted from 1, got 0",
        ),
        (
            lambda: F.adamw_step(ONES.copy(), ONES, ONES[0].copy(), ONES.copy(), step=1, lr=1.0),
            ValueError,
            "adamw_step: mean has shape (3,), but value has shape (2, 3)",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        call()
