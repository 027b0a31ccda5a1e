"""Training by a schedule: what switches when, and what goes on as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ramekin.amp import DynamicLossScale, Schedule, StaticLossScale
from ramekin.history import Progress, Switch
from ramekin.nn import Linear, Module, ReLU, Sequential, SoftmaxCrossEntropy
from ramekin.optim import SGD, AdamW
from ramekin.switching import RecipeSwitcher
from ramekin.trainer import Trainer

ROWS, BATCH = 48, 16


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4)).astype(np.float32)
    return x, (x[:, 0] > x[:, 1]).astype(np.int64)


def model() -> Sequential:
    rng = np.random.default_rng(3)
    return Sequential(Linear(4, 8, rng=rng), ReLU(), Linear(8, 2, rng=rng))


def trainer(recipe: Any, **options: Any) -> Trainer:
    network = model()
    return Trainer(
        network, SoftmaxCrossEntropy(), AdamW(network.parameters(), 0.01), recipe,
        **({"batch_size": BATCH, "epochs": 4} | options),
    )  # fmt: skip


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_a_switch_keeps_masters_and_optimizer() -> None:
    """A plain loop that does nothing at the switch but to name another recipe, to the bit."""
    run = trainer("float8:5,bfloat16:50%,float32:rest", seed=6)
    history = run.fit(data(), data())

    network, loss = model(), SoftmaxCrossEntropy()
    optimizer = AdamW(network.parameters(), 0.01)
    x, labels = data()
    order = np.random.default_rng(6)
    losses, step = [], 0
    for _ in range(4):
        rows = order.permutation(ROWS)
        for at in range(0, ROWS, BATCH):
            network.use_recipe("float8" if step < 5 else "bfloat16" if step < 11 else "float32")
            batch = rows[at : at + BATCH]
            value, gradient = loss(network(x[batch]), labels[batch])
            network.backward(gradient)
            optimizer.step()
            losses.append(float(value))
            step += 1
    assert list(history.step_losses) == losses
    assert same(run.model.state_dict(), network.state_dict())
    assert history.switches == (
        Switch(0, "*", "float8"),
        Switch(5, "*", "bfloat16"),
        Switch(11, "*", "float32"),
    )


def test_phases_of_one_recipe_are_one_run() -> None:
    plain, phased = trainer("bfloat16"), trainer("bfloat16:50%,bfloat16:50%")
    assert phased.fit(data(), data()).step_losses == plain.fit(data(), data()).step_losses
    assert trainer("bfloat16:50%,bfloat16:50%").fit(data(), data()).switches == (Switch(0, "*", "bfloat16"),)


def test_evaluation_is_in_the_recipe_that_the_epoch_ended_in() -> None:
    run = trainer("float8:4,float32:rest", epochs=2)
    history = run.fit(data(), data())
    x, labels = data()
    assert history.test_losses[-1] == float(SoftmaxCrossEntropy()(run.model(x), labels)[0])
    short, float8 = trainer("float8:3,float32:rest", epochs=2), trainer("float8", epochs=2)
    assert short.fit(data(), data()).test_losses[0] == float8.fit(data(), data()).test_losses[0]


def test_groups_of_layers_run_their_own() -> None:
    run = trainer({"*": "float32", "0": "float8:1epoch,bfloat16"})
    first, _, last = run.model.modules  # type: ignore[attr-defined]
    seen = []

    def look(now: Progress) -> None:
        seen.append((first.recipe.name, last.recipe.name, now.recipe))

    history = run.fit(data(), data(), progress=look)
    assert (
        seen
        == [("float8", "float32", "*=float32 0=float8")] * 3
        + [("bfloat16", "float32", "*=float32 0=bfloat16")] * 9
    )
    assert history.switches == (
        Switch(0, "*", "float32"),
        Switch(0, "0", "float8"),
        Switch(3, "0", "bfloat16"),
    )


def test_layers_are_named_by_dotted_paths() -> None:
    class Block(Module):
        def __init__(self) -> None:
            self.inner = Linear(4, 4)
            self.out = Linear(4, 2)

        def forward(self, x: Any) -> Any:
            return self.out(self.inner(x))

        def backward(self, dy: Any) -> Any:
            return self.inner.backward(self.out.backward(dy))

    block = Block()
    network = Sequential(Linear(4, 4), block)
    run = Trainer(
        network, SoftmaxCrossEntropy(), SGD(network.parameters(), 0.1),
        {"1": "float8", "1.out": "float32", "0": "bfloat16"}, epochs=1,
    )  # fmt: skip
    run.fit(data(), data())
    names = [layer.recipe.name for layer in (network.modules[0], block.inner, block.out)]  # type: ignore[attr-defined]
    assert names == ["bfloat16", "float8", "float32"]


def test_a_loss_scale_rests_while_no_recipe_asks_for_it() -> None:
    run = trainer("bfloat16:2,float16:3,bfloat16:3,float16:rest")
    assert run.loss_scale.scale == 1.0
    scales: list[Any] = []
    run.fit(data(), data(), progress=lambda now: scales.append((run.loss_scale, now.loss_scale)))
    assert [number for _, number in scales] == [1.0] * 2 + [65536.0] * 3 + [1.0] * 3 + [65536.0] * 4
    assert scales[4][0] == DynamicLossScale(good_steps=3)
    assert scales[11][0] == DynamicLossScale(good_steps=7)


def test_one_layer_that_needs_a_loss_scale_is_enough() -> None:
    assert trainer({"*": "float32", "0": "float16"}).loss_scale == DynamicLossScale()
    assert trainer({"*": "float32", "0": "float32:1,float16"}).loss_scale.scale == 1.0


def test_a_layer_of_its_own_recipe_that_needs_a_loss_scale_is_enough() -> None:
    for overrides, scale in ((None, 65536.0), ({"2": "bfloat16"}, 1.0), ({"0": "bfloat16"}, 65536.0)):
        network = own("float16")
        run = Trainer(
            network,
            SoftmaxCrossEntropy(),
            SGD(network.parameters()),
            "float32",
            overrides=overrides,
            epochs=1,
        )
        assert set(run.fit(data(), data()).loss_scales) == {scale}


def test_a_given_loss_scale_is_for_all_phases() -> None:
    run = trainer("float16:2,bfloat16:rest", loss_scale=StaticLossScale(8.0))
    scales = []
    run.fit(data(), data(), progress=lambda now: scales.append(now.loss_scale))
    assert scales == [8.0] * 12


def test_skipped_steps_are_shown_as_they_happen() -> None:
    told: list[Progress] = []
    history = trainer("float16", loss_scale=DynamicLossScale(2.0**24)).fit(
        data(), data(), progress=told.append
    )
    counts = [now.skipped_steps for now in told]
    assert counts[0] == 1
    assert counts[-1] == history.skipped_steps < len(told)
    assert [now.loss_scale for now in told] == [2.0 ** (24 - count) for count in counts]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("float8:2epochs", "schedule 'float8:2epochs' ends after 6 of 12 steps"),
        ({"0": "float8"}, "no pattern of the schedule matches layer '2'"),
        ({"0": "float8", "2": "float32", "3": "float32"}, "pattern '3' .* layers are '0', '2'"),
    ],
)
def test_a_schedule_that_does_not_fit_is_found_before_training(recipe: Any, message: str) -> None:
    run = trainer(recipe)
    before = run.model.state_dict()
    with pytest.raises(ValueError, match=message):
        run.fit(data(), data())
    assert same(before, run.model.state_dict())


def test_what_is_no_recipe_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"a schedule is text such as .*, not float"):
        trainer(0.5)
    assert trainer(Schedule("float8:50%,float32")).precision == Schedule("float8:50%,float32")


# --- the most specific wins ---


def own(recipe: str) -> Sequential:
    """Whose last layer has a recipe of its own."""
    rng = np.random.default_rng(3)
    return Sequential(Linear(4, 8, rng=rng), ReLU(), Linear(8, 2, rng=rng, recipe=recipe))


@pytest.mark.parametrize(
    ("recipe", "overrides", "expected"),
    [
        ("float8", None, ("float8", "bfloat16")),
        ({"*": "float8"}, None, ("float8", "bfloat16")),
        ({"*": "float8", "2": "mxfp8"}, None, ("float8", "mxfp8")),
        ({"*": "float8", "[2]": "mxfp8"}, None, ("float8", "mxfp8")),
        ({"?": "float8"}, None, ("float8", "float8")),
        ("float8", {"2": "float32"}, ("float8", "float32")),
        ("float8", {"0": "float32"}, ("float32", "bfloat16")),
        ({"*": "float8", "2": "mxfp8"}, {"2": "float32:rest"}, ("float8", "float32")),
        ({"*": "float8", "2": "mxfp8"}, {"*": "float32"}, None),
        ({"2": "mxfp8", "0": "float8"}, {"?": "tfloat32"}, None),
    ],
)
def test_the_most_specific_recipe_wins(recipe: Any, overrides: Any, expected: Any) -> None:
    network = own("bfloat16")
    run = Trainer(
        network, SoftmaxCrossEntropy(), SGD(network.parameters()), recipe, overrides=overrides, epochs=1
    )
    if expected is None:
        with pytest.raises(ValueError, match="matches no layer that a later one leaves"):
            run.fit(data(), data())
        return
    run.fit(data(), data())
    assert tuple(layer.recipe.name for _, layer in network.named_layers()) == expected


def test_overrides_are_groups_that_come_last() -> None:
    run = trainer("float8:3,bfloat16", overrides={"0": "float32:50%,tfloat32"})
    assert run.precision == Schedule({"*": "float8:3,bfloat16", "0": "float32:50%,tfloat32"})
    history = run.fit(data(), data())
    assert [(s.step, s.layers, s.recipe) for s in history.switches] == [
        (0, "*", "float8"),
        (0, "0", "float32"),
        (3, "*", "bfloat16"),
        (6, "0", "tfloat32"),
    ]


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ({"7": "float32"}, ValueError, "pattern '7' of the schedule matches no layer"),
        ({"0": "fp8"}, ValueError, "unknown recipe 'fp8'"),
        ({0: "float32"}, TypeError, "a pattern of layer names must be a str, not int"),
        (["0"], TypeError, "overrides map patterns to recipes; got list"),
    ],
)
def test_bad_overrides(overrides: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trainer("float8", overrides=overrides).fit(data(), data())


def test_phases_begin_where_recipes_change() -> None:
    schedule = Schedule({"*": "float8:50%,bfloat16:rest", "0": "float32:1epoch,float8:3,bfloat16:90%,mxfp8"})
    assert schedule.starts(7, 3) == (0, 3, 4, 6)
    for step in range(1, 7):
        changes = any(
            schedule.recipe_at(step, 7, 3, layer) != schedule.recipe_at(step - 1, 7, 3, layer)
            for layer in ("0", "2")
        )
        assert changes == (step in schedule.starts(7, 3))
    assert Schedule("float8").starts(7, 3) == (0,)


def test_a_switcher_goes_on_from_its_state() -> None:
    schedule = Schedule("float8:2,bfloat16:4,float32")
    whole, stopped = own("mxfp8"), own("mxfp8")
    first = RecipeSwitcher(whole, schedule, 12, 3)
    assert first.state() == {"step": None}
    for step in range(5):
        first.begin(step)
    second = RecipeSwitcher(stopped, schedule, 12, 3)
    second.load_state(first.state())
    assert second.recipes == first.recipes
    assert second.text == "bfloat16"
    assert stopped.modules[0].recipe.name == "bfloat16"  # type: ignore[attr-defined]
    assert second.begin(5) == []
    assert second.begin(6) == [Switch(6, "*", "float32")]
    with pytest.raises(ValueError, match=r"the state of a schedule is its last step, not \{'at': 3\}"):
        second.load_state({"at": 3})


def test_the_end_of_a_step_is_told_before_its_update(monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer("float16", loss_scale=DynamicLossScale(2.0**24), max_norm=0.01)
    layer = run.model.modules[0]  # type: ignore[attr-defined]
    told: list[Any] = []

    numbers: list[Any] = []

    def end(
        self: RecipeSwitcher, step: int, finite: bool, *, loss: float, loss_scale: float, rate: float
    ) -> None:
        told.append((step, finite, layer.weight.value.copy(), layer.weight.grad.copy()))
        numbers.append((loss, loss_scale, rate))

    monkeypatch.setattr(RecipeSwitcher, "end", end)
    history = run.fit(data(), data())
    assert [(step, finite) for step, finite, *_ in told] == list(enumerate(history.steps_taken))
    columns = (history.step_losses, history.loss_scales, history.learning_rates)
    assert numbers == list(zip(*columns, strict=True))
    assert [bool(np.isfinite(gradient).all()) for *_, gradient in told][-1]
    assert np.array_equal(told[0][2], model().modules[0].weight.value)  # type: ignore[attr-defined]
    # Without the loss scale, and before clipping.
    assert 0.01 < max(float(np.abs(grad).max()) for _, finite, _, grad in told if finite) < 2.0
