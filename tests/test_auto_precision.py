"""AutoPrecision: its rule on constructed evidence, its state, and runs that it steers."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import ramekin as rk
from ramekin.amp import AutoPrecision, Recipe, Schedule, as_precision, as_recipe, split_recipe
from ramekin.auto_evidence import LayerEvidence, LossNoise
from ramekin.auto_switching import AutoSwitcher
from ramekin.history import Switch
from ramekin.nn import Linear, MeanSquaredError, ReLU, Sequential, SoftmaxCrossEntropy
from ramekin.nn.probe import Probe
from ramekin.optim import SGD, AdamW
from ramekin.tasks import as_task
from ramekin.trainer import History, Trainer

# Batches' losses alternate by 2: a standard deviation of sqrt(2). Layer "0" has a quarter of the products.
NOISE = math.sqrt(2.0)
SHARES = {"0": 0.25, "1": 0.75}

Measured = Mapping[str, float | Callable[[int], float]]


def network() -> Sequential:
    return Sequential(Linear(4, 4), Linear(4, 12))


def switcher(**options: Any) -> AutoSwitcher:
    options = {"probe_every": 2, "window": 8, "tolerance": 1.0, "patience": 2} | options
    return AutoSwitcher(network(), AutoPrecision(("mxfp4", "float8", "bfloat16", "float32"), **options))


def play(
    on: AutoSwitcher,
    windows: int = 1,
    *,
    start: int = 0,
    rate: float = 1.0,
    loss_scale: float = 1.0,
    noise: float = NOISE,
    **layers: Measured,
) -> list[Switch]:
    """Feed windows of steps whose probes measure what is given for layers ``_0`` and ``_1``.

    Returns the switches, those of the step after the last window among them.
    """
    quiet = {
        "rise": 1e-3,
        "output_error": 1.0,
        "lower_error": 1e6,
        "gradient_error": 0.0,
        "gradient_square": 1.0,
    }
    switches = []
    for step in range(start, start + 8 * windows):
        switches += on.begin(step)
        for name, layer in on._layers.items():
            if layer.probe is not None:
                for key, value in {**quiet, **layers.get(f"_{name}", {})}.items():
                    setattr(layer.probe, key, value(step) if callable(value) else value)
        loss = 5.0 + (step % 2) * noise * NOISE
        on.end(step, True, loss=loss, loss_scale=loss_scale, rate=rate)
    return switches + on.begin(start + 8 * windows)


def moves(switches: list[Switch]) -> list[tuple[int, str, str]]:
    return [(switch.step, switch.layers, switch.recipe) for switch in switches]


BEGIN = (0, "*", "float8")


# --- the rule ---


def test_a_rise_above_the_layers_share_of_the_noise_moves_it_up() -> None:
    for name, share in SHARES.items():
        above, below = 1.01 * share * NOISE, 0.99 * share * NOISE
        assert moves(play(switcher(), **{f"_{name}": {"rise": below}})) == [BEGIN]
        switches = play(switcher(), **{f"_{name}": {"rise": above}})
        assert moves(switches) == [BEGIN, (8, name, "bfloat16")]
        assert switches[0].reason == "where all layers begin"
        assert switches[1].reason == (
            f"rounding adds {above:.3g} to the loss, more than {share * NOISE:.3g}; batches differ by 1.41"
        )


def test_the_loss_scale_is_taken_out_of_the_rise() -> None:
    above = 1.01 * SHARES["0"] * NOISE * 1024
    assert len(play(switcher(), loss_scale=1024.0, _0={"rise": above})) == 2
    assert moves(play(switcher(), loss_scale=2048.0, _0={"rise": above})) == [BEGIN]


def test_a_rise_that_could_be_chance_moves_nothing() -> None:
    """Probes at steps 0, 2, 4, 6 that alternate: a standard error of spread / sqrt(3)."""
    mean, limit = 1.0, SHARES["0"] * NOISE
    spread = (mean - limit) / 3 * math.sqrt(3)

    def rises(factor: float) -> Any:
        return {"rise": lambda step: mean + factor * spread * (1 if step % 4 else -1)}

    assert len(play(switcher(), _0=rises(0.99))) == 2
    assert moves(play(switcher(), _0=rises(1.01))) == [BEGIN]


def test_the_limit_falls_with_the_learning_rate_to_the_floor() -> None:
    limit = SHARES["0"] * NOISE
    for rate, part in ((0.5, 0.5), (0.25, 0.25), (0.1, 0.2), (0.0, 0.2)):
        for factor, count in ((0.99, 0), (1.01, 1)):
            auto = switcher(floor=0.2)
            play(auto, rate=1.0)
            switches = play(auto, start=8, rate=rate, _0={"rise": factor * part * limit})
            assert len(switches) == count, (rate, factor)
    # A warm-up is no fall: what counts is the highest rate so far.
    auto = switcher(floor=0.2)
    assert moves(play(auto, rate=0.1, _0={"rise": 0.99 * limit})) == [BEGIN]


def test_gradients_that_rounding_destroys_move_a_layer_up() -> None:
    assert moves(play(switcher(), _1={"gradient_error": 0.24})) == [BEGIN]
    switches = play(switcher(), _1={"gradient_error": 0.26})
    assert moves(switches) == [BEGIN, (8, "1", "bfloat16")]
    assert switches[1].reason == "rounding changes 0.26 of the gradient's square, more than 0.25"
    # Where there should be no gradient, any is too much.
    assert len(play(switcher(), _1={"gradient_error": 1e-9, "gradient_square": 0.0})) == 2


def test_rungs_that_leave_gradients_as_they_are_are_passed_over_for_them() -> None:
    options = {"probe_every": 2, "window": 8, "tolerance": 1.0}
    for measured, upper in (({"rise": 1.0}, "bfloat16/float8"), ({"gradient_error": 1.0}, "bfloat16")):
        auto = AutoSwitcher(network(), AutoPrecision(**options))
        assert moves(play(auto, _0=measured)) == [BEGIN, (8, "0", upper)]
    # Where no rung changes them there is nothing to gain.
    split = split_recipe("bfloat16", "float8")
    auto = AutoSwitcher(network(), AutoPrecision(("float8", split), start="float8", **options))
    assert moves(play(auto, _0={"gradient_error": 1.0})) == [BEGIN]


def test_a_clean_layer_moves_down_after_two_windows() -> None:
    clean = {"rise": 0.001, "output_error": 1.0, "lower_error": 20.0}
    assert moves(play(switcher(), 1, _0=clean)) == [BEGIN]
    switches = play(switcher(), 2, _0=clean)
    assert moves(switches) == [BEGIN, (16, "0", "mxfp4")]
    assert switches[1].reason == "rounding would add at most 0.02 to the loss, less than 0.177"
    # On the lowest rung there is nothing below.
    auto = switcher(start="mxfp4")
    assert moves(play(auto, 4, _0=clean)) == [(0, "*", "mxfp4")]


def test_one_window_of_unrest_starts_the_count_anew() -> None:
    clean, restless = {"rise": 0.001, "lower_error": 20.0}, {"rise": 0.02, "lower_error": 20.0}
    auto = switcher()
    play(auto, 1, _0=clean)
    play(auto, 1, start=8, _0=restless)
    assert play(auto, 1, start=16, _0=clean) == []
    assert moves(play(auto, 1, start=24, _0=clean)) == [(32, "0", "mxfp4")]


def test_what_is_expected_below_decides() -> None:
    """The rise, with three standard errors, grows as the squared error does; half of the limit is allowed."""
    half = SHARES["0"] * NOISE / 2
    for lower, count in ((0.99 * half / 0.01, 2), (1.01 * half / 0.01, 1)):
        assert len(play(switcher(), 2, _0={"rise": 0.01, "lower_error": lower})) == count
    noisy = {"rise": lambda step: 0.01 * (1 if step % 4 else -1), "lower_error": 20.0}
    assert len(play(switcher(), 2, _0=noisy)) == 1  # 3 * 0.01 / sqrt(3) * 20 is 0.35
    gradient = {"rise": 0.001, "lower_error": 20.0, "gradient_error": 0.01}
    assert len(play(switcher(), 2, _0=gradient)) == 1  # 20 * 0.01 is above half of 0.25


def test_where_nothing_is_rounded_the_lower_rung_is_tried_once() -> None:
    exact = {"rise": 0.0, "output_error": 0.0, "lower_error": 1.0}
    auto = switcher(start="float32")
    assert moves(play(auto, 2, _0=exact)) == [(0, "*", "float32"), (16, "0", "bfloat16")]
    assert moves(play(auto, 1, start=16, _0={"rise": 1.01 * SHARES["0"] * NOISE})) == [(24, "0", "float32")]
    assert play(auto, 4, start=24, _0=exact) == []


def test_hysteresis() -> None:
    """A layer that left a rung stays away until the noise has grown to twice what made it leave."""
    auto = switcher()
    rise = 1.01 * SHARES["0"] * NOISE
    assert moves(play(auto, _0={"rise": rise})) == [BEGIN, (8, "0", "bfloat16")]
    clean = {"rise": 1e-6, "lower_error": 2.0}
    assert play(auto, 4, start=8, _0=clean) == []
    assert play(auto, 4, start=40, noise=2.0 * NOISE, _0=clean) == []
    assert moves(play(auto, 2, start=72, noise=2.1 * NOISE, _0=clean)) == [(88, "0", "float8")]


def test_a_rung_left_for_its_gradients_is_not_tried_again() -> None:
    auto = switcher()
    assert len(play(auto, _0={"gradient_error": 1.0})) == 2
    assert play(auto, 8, start=8, noise=100 * NOISE, _0={"lower_error": 1.0}) == []


def test_the_top_rung_has_nothing_above() -> None:
    auto = switcher(start="float32")
    assert moves(play(auto, 3, _0={"rise": 100.0, "gradient_error": 100.0})) == [(0, "*", "float32")]


def gradients(auto: AutoSwitcher, broken: str) -> None:
    for name, layer in auto._layers.items():
        for parameter in layer.parameters():
            parameter.grad = np.zeros_like(parameter.value)
            if name == broken:
                parameter.grad.reshape(-1)[-1] = np.inf


def test_gradients_that_are_not_finite_move_their_layer_up_at_once() -> None:
    auto = switcher()
    auto.begin(0)
    gradients(auto, "1")
    auto.end(0, False, loss=1.0, loss_scale=1.0, rate=1.0)
    assert auto.begin(1) == [Switch(1, "1", "bfloat16", "its gradient was not finite")]
    auto.end(1, False, loss=1.0, loss_scale=1.0, rate=1.0)
    assert moves(auto.begin(2)) == [(2, "1", "float32")]
    auto.end(2, False, loss=math.nan, loss_scale=1.0, rate=1.0)
    assert auto.begin(3) == []
    assert auto.text == "*=float8 1=float32"
    assert [recipe.name for recipe in auto.recipes] == ["float8", "float32"]


def test_a_loss_scale_is_to_blame_before_its_recipe() -> None:
    auto = AutoSwitcher(network(), AutoPrecision(("float16", "float32")))
    auto.begin(0)
    gradients(auto, "1")
    auto.end(0, False, loss=1.0, loss_scale=65536.0, rate=1.0)
    assert auto.begin(1) == []


def test_layers_with_a_recipe_of_their_own_keep_it() -> None:
    model = Sequential(Linear(4, 4, recipe="float32"), Linear(4, 4))
    auto = AutoSwitcher(model, AutoPrecision(probe_every=2, window=8, tolerance=1.0))
    # The other one is all that shares the noise.
    assert moves(play(auto, _1={"rise": 1.01 * NOISE})) == [BEGIN, (8, "1", "bfloat16/float8")]
    names = [layer.recipe.name for _, layer in model.named_layers()]
    assert names == ["float32", "bfloat16/float8"]


def test_a_network_without_layers() -> None:
    auto = AutoSwitcher(Sequential(ReLU()), AutoPrecision())
    assert moves(auto.begin(0)) == [BEGIN]
    auto.end(0, True, loss=1.0, loss_scale=1.0, rate=1.0)
    assert [recipe.name for recipe in auto.recipes] == ["float8"]


# --- state ---


def test_state_goes_on_as_if_never_stopped() -> None:
    """At any step: through JSON into a new switcher, which then decides the same."""
    events: Any = {
        "_0": {"rise": lambda step: 0.5 if step < 16 else 1e-4, "lower_error": 20.0},
        "_1": {"gradient_error": lambda step: 0.3 if 24 <= step < 40 else 0.0},
    }
    for cut in range(0, 48, 8):
        whole, first = switcher(), switcher()
        switches = play(whole, 6, **events)
        assert len(switches) > 4
        if cut:
            play(first, cut // 8, **events)
        second = switcher()
        second.load_state(json.loads(json.dumps(first.state(), allow_nan=False)))
        assert second.text == first.text
        for a, b in zip(first._layers.values(), second._layers.values(), strict=True):
            assert a.recipe == b.recipe
        begun = second.begin(cut)
        rest = [switch for switch in play(second, 6 - cut // 8, start=cut, **events) if switch.step > cut]
        assert [switch for switch in switches if switch.step > cut] == begun * 0 + rest
        assert second.state() == whole.state()


def test_state_between_windows() -> None:
    def step(auto: AutoSwitcher, number: int) -> list[Switch]:
        switches = auto.begin(number)
        for layer in auto._layers.values():
            if layer.probe is not None:
                layer.probe.rise = 0.3 + number / 7
        if number == 11:
            gradients(auto, "0")
        auto.end(number, number != 11, loss=5.0 + number % 2, loss_scale=3.0, rate=1.0 / (number + 1))
        return switches

    whole = switcher()
    told = [step(whole, number) for number in range(30)]
    assert sum(len(switches) for switches in told) > 3
    for cut in range(30):
        first, second = switcher(), switcher()
        for number in range(cut):
            step(first, number)
        second.load_state(json.loads(json.dumps(first.state(), allow_nan=False)))
        assert [step(second, number) for number in range(cut, 30)] == told[cut:]
        assert second.state() == whole.state()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ladder": ["float8"]},
            r"ladder \['float8'\], expected \['mxfp4', 'float8', 'bfloat16', 'float32'\]",
        ),
        ({"layers": {}}, r"layers \[\], expected \['0', '1'\]"),
        ({"more": 1}, "accepted keys: ladder, in_force, pending, highest_rate, losses, layers"),
        ({"losses": {"last": 1.0}}, "losses: accepted keys: last, squares, count"),
        ({"layers": {"0": {}, "1": {}}}, "layer '0': accepted keys: rung, left"),
        ({"pending": {"2": "why"}}, "pending"),
        ({"in_force": {"*": "tfloat32"}}, "in force"),
    ],
)
def test_state_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    auto = switcher()
    play(auto)
    before = auto.state()
    with pytest.raises(ValueError, match=message):
        auto.load_state({**before, **changes})
    assert auto.state() == before


def test_a_rung_that_is_none() -> None:
    state = switcher().state()
    state["layers"]["1"]["rung"] = 4
    with pytest.raises(ValueError, match=r"layer '1': rung 4 of .*, expected one of 4"):
        switcher().load_state(state)
    with pytest.raises(ValueError, match="does not fit"):
        switcher().load_state([])  # type: ignore[arg-type]


# --- evidence ---


def test_statistics_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    rises, losses = rng.normal(1.0, 0.3, 9), rng.normal(size=20)
    evidence, noise = LayerEvidence(0, [0.0]), LossNoise()
    for rise in rises:
        probe = Probe()
        probe.rise, probe.output_error, probe.lower_error = 4.0 * rise, 2.0, 3.0
        probe.gradient_error, probe.gradient_square = 1.0, 8.0
        evidence.add(probe, 4.0)
    for loss in losses:
        noise.add(float(loss))
    assert evidence.rise == pytest.approx(rises.mean(), rel=1e-14)
    assert evidence.rise_error == pytest.approx(rises.std(ddof=1) / 3, rel=1e-12)
    assert (evidence.output_error, evidence.lower_error, evidence.gradient_ratio) == (18.0, 27.0, 0.125)
    assert noise.deviation == pytest.approx(math.sqrt((np.diff(losses) ** 2).mean() / 2), rel=1e-14)
    # Equal losses and rises have no spread, whatever the roundings.
    assert LossNoise().deviation == 0.0


@pytest.mark.parametrize("recipe", ["mxfp4", "float8-unscaled", "nvfp4", "bfloat16", "float32"])
def test_probes_measure_what_they_say(recipe: str) -> None:
    """Against float64, of a layer with partial blocks and an odd number of rows."""
    rng = np.random.default_rng(1)
    x, dy = (rng.normal(size=shape).astype(np.float32) for shape in ((51, 40), (51, 24)))
    dy *= np.float32(1e-5)
    layer, plain = Linear(40, 24, recipe=recipe), Linear(40, 24, recipe=recipe)
    lower = as_recipe("mxfp8")
    layer.probe = probe = Probe(lower)
    y, dx = layer(x), layer.backward(dy)
    assert np.array_equal(y, plain(x))
    assert np.array_equal(dx, plain.backward(dy))
    assert layer.weight.grad is not None
    assert plain.weight.grad is not None
    assert np.array_equal(layer.weight.grad, plain.weight.grad)

    w, x64, dy64 = (a.astype(np.float64) for a in (layer.weight.value, x, dy))
    exact = x64 @ w.T
    below = Linear(40, 24, recipe="mxfp8")
    error = y - exact
    # The float32 chain of 40 terms and of the difference: 42 roundings of numbers below 10.
    slack = 42 * 2.0**-24 * 10
    assert probe.rise == pytest.approx((dy64 * error).sum(), abs=slack * np.abs(dy64).sum())
    assert math.sqrt(probe.output_error) == pytest.approx(
        np.linalg.norm(error), abs=slack * math.sqrt(error.size)
    )
    expected = np.linalg.norm(below(x) - exact)
    assert math.sqrt(probe.lower_error) == pytest.approx(expected, abs=slack * math.sqrt(error.size))
    gradient = dy64.T @ x64
    change = layer.weight.grad - gradient
    slack = 52 * 2.0**-24 * 2e-3 * math.sqrt(change.size)
    assert math.sqrt(probe.gradient_error) == pytest.approx(np.linalg.norm(change), abs=slack)
    assert math.sqrt(probe.gradient_square) == pytest.approx(np.linalg.norm(gradient), abs=slack)


@pytest.mark.parametrize("exponent", [-120, -60, 0, 60])
def test_squares_beyond_float32_are_counted(exponent: int) -> None:
    probe = Probe()
    ones, zeros = np.full((3, 4), 2.0**exponent, np.float32), np.zeros((3, 4), np.float32)
    probe.see_output(ones, zeros, None)
    assert probe.output_error == 12 * 2.0 ** (2 * exponent)
    assert probe.lower_error == 0.0


# --- runs ---


def toy(recipe: Any, seed: int = 3, epochs: int = 6, **options: Any) -> tuple[Trainer, History]:
    rng = np.random.default_rng(seed)
    model = Sequential(Linear(8, 16, rng=rng), ReLU(), Linear(16, 2, rng=rng))
    x = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    labels = (x[:, 0] > x[:, 1]).astype(np.int64)
    trainer = Trainer(
        model, SoftmaxCrossEntropy(), AdamW(model.parameters(), 0.01), recipe,
        batch_size=16, epochs=epochs, **options,
    )  # fmt: skip
    return trainer, trainer.fit((x, labels), (x, labels))


@pytest.mark.parametrize("rung", ["mxfp4", "float8", "bfloat16"])
def test_probing_changes_no_bit(rung: str) -> None:
    still = AutoPrecision((rung, "float32"), tolerance=1e9, floor=1e9, gradient_tolerance=1e9, start=rung)
    (watched, with_probes), (plain, without) = toy(still), toy(rung)
    assert with_probes.step_losses == without.step_losses
    assert with_probes.test_losses == without.test_losses
    for name, value in plain.model.state_dict().items():
        assert np.array_equal(value, watched.model.state_dict()[name])
    assert [(switch.layers, switch.recipe) for switch in with_probes.switches] == [("*", rung)]
    assert all(layer.probe is None for _, layer in watched.model.named_layers())


EAGER = AutoPrecision(start="mxfp4", tolerance=0.02, floor=0.005, probe_every=2, window=16)


def test_a_resumed_run_ends_in_the_same_bits() -> None:
    """A loop by hand, cut at every fifth step: copies of model and optimiser, and a new switcher."""
    x = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
    loss = MeanSquaredError()

    def start() -> tuple[Sequential, AdamW, AutoSwitcher]:
        rng = np.random.default_rng(5)
        model = Sequential(Linear(8, 16, rng=rng), ReLU(), Linear(16, 8, rng=rng))
        return model, AdamW(model.parameters(), 0.01), AutoSwitcher(model, EAGER)

    def steps(model: Sequential, optimizer: AdamW, auto: AutoSwitcher, first: int, end: int) -> list[Switch]:
        switches = []
        for step in range(first, end):
            switches += auto.begin(step)
            batch = np.roll(x, step, axis=0)[:24]
            value, gradient = loss(model(batch), batch)
            model.backward(gradient)
            auto.end(step, True, loss=float(value), loss_scale=1.0, rate=1.0)
            optimizer.step()
        return switches

    model, optimizer, auto = start()
    switches = steps(model, optimizer, auto, 0, 60)
    assert len(switches) > 3
    for cut in range(0, 60, 5):
        again, adam, before = start()
        told = steps(again, adam, before, 0, cut)
        again, adam = copy.deepcopy((again, adam))
        after = AutoSwitcher(again, EAGER)
        after.load_state(json.loads(json.dumps(before.state(), allow_nan=False)))
        assert told + steps(again, adam, after, cut, 60) == switches
        for name, value in model.state_dict().items():
            assert np.array_equal(value, again.state_dict()[name])


def test_same_bits_for_any_thread_count() -> None:
    task = as_task("autoencode")
    auto = AutoPrecision(start="mxfp4", probe_every=4, window=16)
    threads = rk.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            rk.set_num_threads(count)
            trainer = task.trainer(auto, 0, epochs=3)
            history = trainer.fit(*task.data())
            results.append((history.switches, history.step_losses, trainer.model.state_dict()))
    finally:
        rk.set_num_threads(threads)
    (switches, losses, weights), *others = results
    assert len(switches) > 4
    for other in others:
        assert other[:2] == (switches, losses)
        assert all(np.array_equal(weights[name], other[2][name]) for name in weights)


def deep(recipe: Any) -> History:
    """Nine layers that each take a gradient to a quarter: the first one's is below e5m2's range."""
    rng = np.random.default_rng(0)
    layers: list[Any] = []
    for _ in range(9):
        layer = Linear(16, 16)
        layer.weight.value[...] = rng.uniform(0.9, 1.1, (16, 16)) / 64
        assert layer.bias is not None
        layer.bias.value[...] = 1.0
        layers += [layer, ReLU()]
    model = Sequential(*layers)
    x = rng.uniform(0.9, 1.1, (64, 16)).astype(np.float32)
    target = rng.uniform(-1.1, -0.9, (64, 16)).astype(np.float32)
    trainer = Trainer(
        model, MeanSquaredError(), SGD(model.parameters(), 1e-3), recipe, batch_size=16, epochs=10
    )
    return trainer.fit((x, target), (x, target))


def test_layers_whose_gradients_underflow_go_up() -> None:
    auto = AutoPrecision(("float8-unscaled", "bfloat16"), tolerance=1e9, floor=1e9, probe_every=2, window=8)
    history = deep(auto)
    assert history.gradient_underflow < deep("float8-unscaled").gradient_underflow
    raised = [(switch.step, switch.layers) for switch in history.switches[1:]]
    # A layer gets no gradient before those behind it have let it through.
    assert raised[:2] == [(8, "4"), (16, "2")]
    assert (24, "0") in raised
    assert not {"10", "12", "14", "16"} & {layer for _, layer in raised}
    assert history.switches[1].reason == "rounding changes 1 of the gradient's square, more than 0.25"


def test_a_recipe_that_overflows_is_left_at_once() -> None:
    model = Sequential(Linear(4, 2))
    x = np.full((32, 4), 1000.0, np.float32)  # e4m3fn ends at 448, and has no infinity
    auto = AutoPrecision(("float8-unscaled", "bfloat16"))
    optimizer = SGD(model.parameters(), 1e-9)
    trainer = Trainer(model, MeanSquaredError(), optimizer, auto, batch_size=8, epochs=1)
    history = trainer.fit((x, x[:, :2]), (x, x[:, :2]))
    assert moves(list(history.switches)) == [(0, "*", "float8-unscaled"), (1, "0", "bfloat16")]
    assert history.switches[1].reason == "its gradient was not finite"
    assert history.steps_taken == (False, True, True, True)


def test_the_loss_is_scaled_while_a_rung_asks_for_it() -> None:
    ladder = ("float8", "float16", "float32")
    strict = AutoPrecision(ladder, gradient_tolerance=1e-12, probe_every=2, window=8)
    trainer, history = toy(strict, epochs=3)
    assert [switch.recipe for switch in history.switches] == [
        "float8",
        "float16",
        "float16",
        "float32",
        "float32",
    ]
    assert set(history.loss_scales[:8]) == {1.0}
    assert set(history.loss_scales[8:16]) == {65536.0}
    assert set(history.loss_scales[16:]) == {1.0}
    assert trainer.loss_scale.scale == 1.0


def test_share_of_low_precision() -> None:
    """By hand: a toy layer of 128 and one of 32 weights, 13 steps of 200 rows in all, 200 rows evaluated.

    The first layer has no dgrad, so each row does 3 * 128 + 4 * 32 = 512 multiplications.
    """
    assert toy("float8")[1].low_precision_share == 1.0
    assert toy("bfloat16")[1].low_precision_share == 0.0
    half = toy("float8:50%,bfloat16:50%", epochs=2)[1]
    assert half.low_precision_share == 0.5
    by_layer = toy({"*": "mxfp4", "0": "float32"})[1]
    assert by_layer.low_precision_share == 4 * 32 / 512
    mixed = Recipe("mixed", "float8_e4m3fn", "float8_e4m3fn", "bfloat16")
    # Of the products, fprop has two operands of 8 bits, and so have evaluations.
    assert toy(mixed)[1].low_precision_share == 2 * 160 / 512
    still = AutoPrecision(
        ("float8", "float32"), tolerance=1e9, floor=1e9, gradient_tolerance=1e9, probe_every=13, window=26
    )
    # One step in 13, the first of each epoch with 16 rows, does 2 more in float32.
    assert toy(still)[1].low_precision_share == 200 * 512 / (200 * 512 + 2 * 16 * 160)


def test_classification_stays_low() -> None:
    task = as_task("classify")
    history = task.trainer("auto", 0, epochs=8).fit(*task.data())
    # All but the probes, which take 2/3 of every eighth step.
    assert history.low_precision_share > 0.9
    assert {switch.recipe for switch in history.switches} <= {"mxfp4", "float8"}


# --- what is accepted ---


def test_defaults_and_names() -> None:
    auto = AutoPrecision()
    names = [recipe.name for recipe in auto.recipes]
    assert names == ["mxfp4", "float8", "bfloat16/float8", "bfloat16", "float32"]
    assert auto.first_recipes == (as_recipe("float8"),)
    assert (auto.name, str(auto), auto.bits) == ("auto", "auto", "4/4/4>8/8/8>16/16/8>16/16/16>32/32/32")
    assert AutoPrecision(("mxfp4", "float8", "bfloat16", "float32")).name != "auto"
    assert AutoPrecision(("mxfp8", "float32")).name == "auto(mxfp8>float32)"
    assert AutoPrecision(("mxfp4", "mxfp6")).start == as_recipe("mxfp6")
    assert AutoPrecision(start="mxfp4").start == as_recipe("mxfp4")
    assert pickle.loads(pickle.dumps(auto)) == auto
    assert hash(AutoPrecision()) == hash(auto)
    with pytest.raises(AttributeError):
        auto.window = 3  # type: ignore[misc]


def test_auto_is_accepted_where_a_schedule_is() -> None:
    assert as_precision(" auto ") == AutoPrecision()
    own = AutoPrecision(window=128)
    assert as_precision(own) is own
    assert as_precision("float8:50%,bfloat16:50%") == Schedule("float8:50%,bfloat16:50%")
    with pytest.raises(ValueError, match="unknown recipe 'automatic'"):
        as_precision("automatic")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ladder": "float8"}, TypeError, r"ladder must be a sequence of recipes, as .*, not str"),
        ({"ladder": 3}, TypeError, r"ladder must be a sequence of recipes, as .*, not int"),
        ({"ladder": ["float8"]}, ValueError, "ladder needs at least two recipes, got 1"),
        ({"ladder": ["float8", "float9"]}, ValueError, "unknown recipe 'float9'"),
        ({"ladder": ["float8", "float8"]}, ValueError, "ladder names a recipe twice: float8, float8"),
        ({"ladder": ["bfloat16", "float8"]}, ValueError, "float8, 8 bits, follows bfloat16, 16 bits"),
        (
            {"start": "mxfp8"},
            ValueError,
            "start 'mxfp8' is no rung; accepted: mxfp4, float8, bfloat16/float8, bfloat16",
        ),
        ({"tolerance": 0}, ValueError, "tolerance must be finite and above 0, got 0"),
        ({"tolerance": "1"}, TypeError, "tolerance must be a number, not str"),
        ({"floor": -1.0}, ValueError, "floor must be finite and above 0, got -1.0"),
        (
            {"gradient_tolerance": math.nan},
            ValueError,
            "gradient_tolerance must be finite and above 0, got nan",
        ),
        ({"hysteresis": 1.0}, ValueError, "hysteresis must be below 1, got 1.0"),
        ({"hysteresis": True}, TypeError, "hysteresis must be a number, not bool"),
        ({"patience": 0}, ValueError, "patience must be at least 1, got 0"),
        ({"probe_every": 1.0}, TypeError, "probe_every must be an integer, not float"),
        (
            {"window": 12},
            ValueError,
            "window must be a multiple of probe_every = 8, at least twice it, got 12",
        ),
        ({"window": 8}, ValueError, "at least twice it, got 8"),
    ],
)
def test_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        AutoPrecision(**options)
