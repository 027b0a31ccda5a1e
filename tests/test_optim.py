"""Optimisers against their formulas, written independently in float64; schedules."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import ramekin
from ramekin.formats import as_format
from ramekin.nn import Parameter
from ramekin.optim import (
    SGD,
    AdamW,
    ConstantSchedule,
    CosineSchedule,
    clip_gradients,
    gradient_norm,
)

# Twenty float32 steps of a handful of roundings each: errors add up to some 100 units in the last
# place at worst, about 1e-5 relative to the size of the values (about 1).
TOLERANCE = 1e-5
STEPS = 20


def gradients(rng: np.random.Generator) -> list[Any]:
    return [rng.normal(size=(3, 4)).astype(np.float32) for _ in range(STEPS)]


def run(optimizer: Any, parameter: Parameter, grads: list[Any], rates: list[float]) -> None:
    for grad, rate in zip(grads, rates, strict=True):
        parameter.grad = grad
        optimizer.step(rate)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd(momentum: float, weight_decay: float) -> None:
    rng = np.random.default_rng(1)
    parameter = Parameter(rng.normal(size=(3, 4)).astype(np.float32))
    p = parameter.value.astype(np.float64)
    grads = gradients(rng)
    run(
        SGD([parameter], 0.05, momentum=momentum, weight_decay=weight_decay),
        parameter, grads, [0.05] * STEPS,
    )  # fmt: skip
    velocity = np.zeros_like(p)
    for g in grads:
        velocity = momentum * velocity + g + weight_decay * p
        p = p - 0.05 * velocity
    assert parameter.value.dtype == np.float32
    np.testing.assert_allclose(parameter.value, p, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_adamw_under_a_changing_rate(weight_decay: float) -> None:
    rng = np.random.default_rng(2)
    parameter = Parameter(rng.normal(size=(3, 4)).astype(np.float32))
    p = parameter.value.astype(np.float64)
    grads = gradients(rng)
    rates = [0.01 * (i + 1) / STEPS for i in range(STEPS)]
    optimizer = AdamW([parameter], betas=(0.8, 0.95), eps=1e-3, weight_decay=weight_decay)
    run(optimizer, parameter, grads, rates)
    # Explicit sums instead of recursions: m_t = (1 - b1) sum_i b1^(t - i) g_i.
    for t, rate in enumerate(rates, start=1):
        seen = np.array(grads[:t], np.float64)
        age = (t - 1 - np.arange(t))[:, None, None]
        m = (0.2 * 0.8**age * seen).sum(0) / (1 - 0.8**t)
        v = (0.05 * 0.95**age * seen**2).sum(0) / (1 - 0.95**t)
        p = p - rate * weight_decay * p - rate * m / (np.sqrt(v) + 1e-3)
    assert parameter.value.dtype == np.float32
    np.testing.assert_allclose(parameter.value, p, rtol=0, atol=TOLERANCE)


def test_adamw_first_step_has_the_size_of_the_rate() -> None:
    parameter = Parameter(np.zeros(3, np.float32))
    parameter.grad = np.array([1e-3, -20.0, 0.0], np.float32)
    AdamW([parameter], 0.25).step()
    # eps / |g| = 1e-5 is what the first element falls short by.
    np.testing.assert_allclose(parameter.value, [-0.25, 0.25, 0.0], rtol=2e-5)


def test_defaults_are_pytorchs() -> None:
    optimizer = AdamW([])
    assert (optimizer.lr, optimizer.betas, optimizer.eps, optimizer.weight_decay) == (
        1e-3, (0.9, 0.999), 1e-8, 1e-2,
    )  # fmt: skip
    assert (SGD([]).lr, SGD([]).momentum, SGD([]).weight_decay) == (1e-3, 0.0, 0.0)


def test_cosine_is_right_to_the_last_bits_of_float64() -> None:
    schedule = CosineSchedule()
    for step in range(1000):
        assert schedule(step, 1000) == pytest.approx((1 + math.cos(math.pi * step / 1000)) / 2, abs=4e-16)
    assert schedule(1000, 1000) == 0.0


# --- states ---


def trained(optimizer: Any, grads: list[Any]) -> Any:
    for grad in grads:
        for parameter in optimizer.parameters:
            parameter.grad = grad.copy()
        optimizer.step()
    return optimizer


def two_parameters() -> list[tuple[str, Parameter]]:
    rng = np.random.default_rng(8)
    return [(name, Parameter(rng.normal(size=(3, 4)).astype(np.float32))) for name in ("0.weight", "tail")]


@pytest.mark.parametrize("state_format", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_a_restored_state_goes_on_to_the_bit(kind: Any, state_format: str) -> None:
    options = {"momentum": 0.9} if kind is SGD else {}
    grads = gradients(np.random.default_rng(9))
    whole, first, second = (
        kind(two_parameters(), 0.01, state_format=state_format, **options) for _ in range(3)
    )
    for optimizer in (whole, first, second):
        optimizer.seed_rounding(5)
    trained(whole, grads)
    trained(first, grads[:7])
    state = first.state_dict()
    for mine, parameter in zip(second.parameters, first.parameters, strict=True):
        mine.value[...] = parameter.value
    second.load_state_dict(state)
    trained(second, grads[7:])
    for mine, parameter in zip(second.parameters, whole.parameters, strict=True):
        assert mine.value.tobytes() == parameter.value.tobytes()
    assert all(np.array_equal(value, whole.state_dict()[name]) for name, value in second.state_dict().items())
    parts = ["buffer"] if kind is SGD else ["mean", "square"]
    assert state.keys() == {"step", *(f"{name}.{part}" for name in ("0.weight", "tail") for part in parts)}
    assert state["step"] == 7
    assert state["step"].dtype == np.uint64
    for name, array in state.items():
        assert name == "step" or array.dtype == as_format(state_format).dtype
    # Copies: what goes on does not show in them.
    before = state["tail." + parts[0]].copy()
    trained(first, grads[7:9])
    assert np.array_equal(state["tail." + parts[0]], before)


def test_parameters_without_names_are_numbered() -> None:
    parameters = [parameter for _, parameter in two_parameters()]
    assert list(AdamW(parameters).state_dict()) == ["step", "0.mean", "1.mean", "0.square", "1.square"]
    assert list(SGD(parameters, momentum=0.9).state_dict()) == ["step"]
    assert SGD(parameters).names == ["0", "1"]


def test_states_in_bfloat16_are_seeded_by_run_parameter_and_step() -> None:
    grads = gradients(np.random.default_rng(10))[:1]

    def mean(run: int, steps: int = 1) -> Any:
        optimizer = AdamW(two_parameters(), state_format="bfloat16")
        optimizer.seed_rounding(run)
        state = trained(optimizer, grads * steps).state_dict()
        return state["0.weight.mean"].astype(np.float32), state["tail.mean"].astype(np.float32)

    first, second = mean(1)
    # Equal gradients, other words.
    assert not np.array_equal(first, second)
    assert np.array_equal(mean(1 + 2**64), mean(1))
    assert not np.array_equal(mean(2)[0], first)
    expected = grads[0] * np.float32(0.1)
    for number, got in enumerate((first, second)):
        seed = ramekin.amp.rounding_seed(1, number, 8, 0)
        rounded = ramekin.cast(expected, ramekin.bfloat16, rounding="stochastic", seed=seed)
        assert np.array_equal(got, rounded.astype(np.float32))


def test_a_short_average_of_squares_does_not_stand_still() -> None:
    # To nearest, 0.999 v + 0.001 g^2 with g^2 a little above v would leave bfloat16's v as it is.
    parameter = Parameter(np.zeros(4000, np.float32))
    optimizer = AdamW([parameter], state_format="bfloat16")
    state = optimizer.state_dict()
    state["0.square"][...] = 1.0
    state["step"] = np.array(10**6, np.uint64)
    optimizer.load_state_dict(state)
    parameter.grad = np.full(4000, math.sqrt(2), np.float32)
    for _ in range(100):
        optimizer.step(1e-9)
    expected = 2 - 0.999**100
    square = optimizer.state_dict()["0.square"].astype(np.float64)
    # Unbiased; one rounding's deviation is at most 2^-8, 100 of them add up to 0.04 for each of 4000.
    assert abs(square.mean() - expected) <= 6 * 0.04 / math.sqrt(4000)


STATE = AdamW(two_parameters()).state_dict()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tail.mean": None}, r"missing \['tail.mean'\], unknown \[\]"),
        ({"x.mean": STATE["tail.mean"]}, r"missing \[\], unknown \['x.mean'\]"),
        ({"tail.mean": STATE["tail.mean"][:2]}, r"tail.mean has shape \(2, 4\) and dtype float32, expected"),
        (
            {"tail.mean": STATE["tail.mean"].astype(float)},
            "tail.mean has shape .* and dtype float64, expected",
        ),
        ({"step": np.array(-1)}, "step must be one count, got"),
        ({"step": np.zeros(2, np.uint64)}, "step must be one count, got"),
    ],
)
def test_state_that_does_not_fit_changes_nothing(changes: dict[str, Any], message: str) -> None:
    optimizer = trained(AdamW(two_parameters()), gradients(np.random.default_rng(3))[:2])
    before = optimizer.state_dict()
    state = {name: array for name, array in (STATE | changes).items() if array is not None}
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)
    assert all(np.array_equal(array, before[name]) for name, array in optimizer.state_dict().items())


def test_bad_states() -> None:
    with pytest.raises(ValueError, match="state_format must be float32 or bfloat16, got float16"):
        AdamW([], state_format="float16")
    with pytest.raises(ValueError, match="two parameters have the name 'tail'"):
        SGD(two_parameters() + two_parameters()[1:])
    with pytest.raises(ValueError, match=r"unknown \['0.buffer'\]"):
        SGD([Parameter(np.zeros(2, np.float32))]).load_state_dict(
            {"step": np.array(1, np.uint64), "0.buffer": np.zeros(2, np.float32)}
        )


def test_values_are_changed_in_place_and_gradients_left_alone() -> None:
    parameter = Parameter(np.ones(2, np.float32))
    value, grad = parameter.value, np.full(2, 3.0, np.float32)
    for optimizer in (SGD([parameter], momentum=0.5, weight_decay=0.1), AdamW([parameter])):
        for _ in range(2):
            parameter.grad = grad
            optimizer.step()
    assert parameter.value is value
    assert np.array_equal(grad, [3.0, 3.0])


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_step_needs_gradients(kind: Any) -> None:
    with pytest.raises(RuntimeError, match="no gradient"):
        kind([Parameter(np.ones(2, np.float32))]).step()


@pytest.mark.parametrize("kind", [SGD, AdamW])
@pytest.mark.parametrize("lr", [0.0, -1.0, math.nan, math.inf])
def test_bad_rate(kind: Any, lr: float) -> None:
    with pytest.raises(ValueError, match="lr must be"):
        kind([], lr)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (SGD, {"momentum": -0.1}, "momentum must be"),
        (SGD, {"weight_decay": math.nan}, "weight_decay must be"),
        (AdamW, {"eps": -1e-8}, "eps must be"),
        (AdamW, {"betas": (0.9, 1.0)}, "betas must lie"),
        (AdamW, {"weight_decay": -1.0}, "weight_decay must be"),
    ],
)
def test_bad_numbers(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind([], **arguments)


def test_cosine() -> None:
    schedule = CosineSchedule(final=0.1)
    assert schedule(0, 100) == 1.0
    assert schedule(50, 100) == pytest.approx(0.55)
    assert schedule(100, 100) == pytest.approx(0.1)
    assert schedule(25, 100) == pytest.approx(0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2)
    assert ConstantSchedule()(70, 100) == 1.0


def test_warmup_rises_to_one_and_the_cosine_takes_over() -> None:
    schedule = CosineSchedule(warmup=0.2)
    factors = [schedule(step, 20) for step in range(20)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factors[12] == pytest.approx(0.5)
    assert all(a > b for a, b in itertools.pairwise(factors[4:]))
    # Too short a run for a whole step of warm-up has none.
    assert schedule(0, 4) == 1.0


def transcribed(kind: Any, step: int, total: int, rising: int, final: float) -> float:
    """The factor as the papers put it: Goyal et al. 2017 for the rise, SGDR's equation 5 for the fall."""
    if step < rising:
        return (step + 1) / rising
    if kind is ConstantSchedule:
        return 1.0
    return final + 0.5 * (1 - final) * (1 + math.cos((step - rising) / (total - rising) * math.pi))


@pytest.mark.parametrize("kind", [ConstantSchedule, CosineSchedule])
@pytest.mark.parametrize("total", [1, 7, 100])
def test_schedules_against_a_transcription(kind: Any, total: int) -> None:
    finals: list[dict[str, float]] = [{}] if kind is ConstantSchedule else [{}, {"final": 0.1}]
    for end in finals:
        for options, rising in (({}, 0), ({"warmup": 0.25}, total // 4), ({"warmup_steps": 5}, 5)):
            schedule = kind(**options, **end)
            for step in range(total):
                expected = transcribed(kind, step, total, rising, end.get("final", 0.0))
                assert schedule(step, total) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warmup": -0.1}, r"warmup must lie in \[0, 1\), got -0.1"),
        ({"warmup": 1.0}, "for a number of steps, use warmup_steps"),
        ({"warmup_steps": -1}, "warmup_steps must not be negative, got -1"),
        ({"warmup": 0.1, "warmup_steps": 3}, "warmup and warmup_steps exclude each other"),
    ],
)
@pytest.mark.parametrize("kind", [CosineSchedule, ConstantSchedule])
def test_bad_schedule(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


def test_bad_schedule_of_one_kind() -> None:
    with pytest.raises(ValueError, match=r"final must lie in \[0, 1\], got 1.5"):
        CosineSchedule(final=1.5)
    with pytest.raises(TypeError, match="warmup_steps must be an integer, not float"):
        ConstantSchedule(warmup_steps=2.0)  # type: ignore[arg-type]


# --- gradient clipping ---


def with_gradients(*gradients: Any) -> list[Parameter]:
    parameters = []
    for gradient in gradients:
        parameters.append(Parameter(np.zeros(np.shape(gradient), np.float32)))
        parameters[-1].grad = np.array(gradient, np.float32)
    return parameters


def squared_norm(parameters: list[Parameter]) -> Fraction:
    return sum(
        (Fraction(float(g)) ** 2 for p in parameters if p.grad is not None for g in p.grad.flat), Fraction(0)
    )


@pytest.mark.parametrize("exponent", [0, -149, -126, -80, 60, 127])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gradient_norm_is_right_over_all_of_float32(exponent: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [
        rng.uniform(-1, 1, shape) * 10.0 ** rng.integers(-3, 1) for shape in ((7, 30), (3,), (40, 1), ())
    ]
    parameters = with_gradients(*(np.ldexp(part, exponent + 1) / 2 for part in parts))
    parameters.append(Parameter(np.zeros(3, np.float32)))  # without a gradient
    norm, square = Fraction(gradient_norm(parameters)), squared_norm(parameters)
    # 254 numbers: |norm - n| <= 254 2^-53 n, by its square.
    bound = Fraction(254, 2**53)
    assert (1 - bound) ** 2 * square <= norm**2 <= (1 + bound) ** 2 * square


def test_gradient_norm_of_special_gradients() -> None:
    assert gradient_norm([]) == gradient_norm(with_gradients([0.0, -0.0], np.zeros((0, 3)))) == 0.0
    assert gradient_norm(with_gradients([1.0], [-math.inf])) == math.inf
    assert math.isnan(gradient_norm(with_gradients([math.nan, math.inf], [1.0])))
    assert math.isnan(gradient_norm(with_gradients([math.inf], [math.nan], [1.0])))
    assert gradient_norm(with_gradients([3.0], [4.0])) == 5.0


def test_gradient_norm_has_the_same_bits_for_any_thread_count() -> None:
    parameters = with_gradients(*(np.random.default_rng(i).normal(size=(300, 257)) for i in range(3)))
    threads = ramekin.get_num_threads()
    norms = set()
    try:
        for count in (1, 2, 3):
            ramekin.set_num_threads(count)
            norms.add(gradient_norm(parameters))
    finally:
        ramekin.set_num_threads(threads)
    assert len(norms) == 1
    # Strides do not show either: the order is that of the elements.
    for parameter in parameters:
        assert parameter.grad is not None
        parameter.grad = np.asfortranarray(parameter.grad)
    assert norms == {gradient_norm(parameters)}


@pytest.mark.parametrize("max_norm", [0.5, 10.0, 1e6])
def test_clipping_by_its_formula(max_norm: float) -> None:
    rng = np.random.default_rng(5)
    parameters = with_gradients(rng.normal(size=(30, 20)), rng.normal(size=20))
    before = [parameter.grad for parameter in parameters]
    kept = [np.array(gradient) for gradient in before]
    norm = math.sqrt(squared_norm(parameters))
    assert clip_gradients(parameters, max_norm) == pytest.approx(norm, rel=620 * 2.0**-53)
    factor = min(1.0, max_norm / (norm + 1e-6))
    for parameter, gradient, copy in zip(parameters, before, kept, strict=True):
        assert parameter.grad is not None
        assert parameter.grad.dtype == np.float32
        # The factor's rounding and the product's: twice half a unit, 2^-24.
        np.testing.assert_allclose(parameter.grad, factor * copy.astype(np.float64), rtol=2.001 * 2.0**-24)
        assert parameter.grad is gradient
    assert gradient_norm(parameters) <= max(max_norm, 1e-30) * (1 + 2.0**-22)


def test_clipping_agrees_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    parameters = with_gradients(rng.normal(size=(30, 20)), rng.normal(size=20))
    theirs = []
    for parameter in parameters:
        theirs.append(torch.nn.Parameter(torch.zeros(parameter.value.shape)))
        theirs[-1].grad = torch.from_numpy(np.array(parameter.grad))
    norm = torch.nn.utils.clip_grad_norm_(theirs, 0.7)
    # PyTorch adds 620 squares in float32.
    assert clip_gradients(parameters, 0.7) == pytest.approx(float(norm), rel=620 * 2.0**-24)
    for parameter, their in zip(parameters, theirs, strict=True):
        np.testing.assert_allclose(parameter.grad, their.grad.numpy(), rtol=620 * 2.0**-24)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_clipping_leaves_gradients_that_are_not_finite(bad: float) -> None:
    parameters = with_gradients([1.0, bad], [100.0])
    norm = clip_gradients(parameters, 1.0)
    assert not math.isfinite(norm)
    assert np.array_equal(parameters[1].grad, [100.0])


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan, math.inf])
def test_bad_limit(max_norm: float) -> None:
    with pytest.raises(ValueError, match="max_norm must be a finite number above 0, got"):
        clip_gradients([], max_norm)
