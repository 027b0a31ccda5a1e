"""The training loop: determinism, batch order, loss scaling, skipped steps, refused data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import ramekin
import reference_mlp
from ramekin.amp import DynamicLossScale, Recipe, StaticLossScale
from ramekin.formats import float8_e4m3fn, float16
from ramekin.nn import Linear, MeanSquaredError, Module, ReLU, Sequential, SoftmaxCrossEntropy
from ramekin.optim import SGD, AdamW, CosineSchedule, gradient_norm
from ramekin.tasks import Task, as_task, tasks
from ramekin.trainer import History, Progress, Trainer


def toy_data(seed: int = 0, n: int = 50) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    return x, (x[:, 0] > x[:, 1]).astype(np.int64)


def toy_model() -> Sequential:
    rng = np.random.default_rng(3)
    return Sequential(Linear(4, 8, rng=rng), ReLU(), Linear(8, 2, rng=rng))


def toy_trainer(recipe: str | Recipe = "float32", **options: Any) -> Trainer:
    model = toy_model()
    return Trainer(
        model, SoftmaxCrossEntropy(), AdamW(model.parameters(), 0.01), recipe,
        **({"batch_size": 16, "epochs": 3} | options),
    )  # fmt: skip


def without_times(history: History) -> dict[str, Any]:
    fields = dataclasses.asdict(history)
    del fields["step_times"]
    return fields


# --- the float32 recipe against NumPy ---


@pytest.mark.parametrize("name", tasks())
@pytest.mark.parametrize("seed", [0, 7])
def test_float32_recipe_matches_independent_numpy(name: str, seed: int) -> None:
    task = as_task(name)
    setup = reference_mlp.Setup(
        task.widths,
        task.classifies,
        2,
        task.batch_size,
        task.learning_rate,
        task.weight_decay,
        task.warmup,
    )
    history = task.trainer("float32", seed, epochs=2).fit(*task.data())
    steps = min(50, len(history.step_losses))
    expected = reference_mlp.step_losses(setup, seed, steps)
    # The two programs sum in different orders. A float32 sum of up to 256 products may differ by
    # 256 half units in the last place; that is the room given to the losses after all 50 steps.
    # Measured, float32 differs by less than 1e-6; products in bfloat16 move the losses by 4e-4 and more.
    np.testing.assert_allclose(history.step_losses[:steps], expected, rtol=256 * 2.0**-24)
    assert steps >= 20


@pytest.mark.parametrize("recipe", ["float32", "float8", "float8-block", "mxfp4-hadamard", "nvfp4"])
def test_same_seed_same_bits_and_any_thread_count(recipe: str) -> None:
    task = as_task("classify")
    data = task.data()
    threads = ramekin.get_num_threads()
    results = []
    try:
        for count in (1, 2, 2):
            ramekin.set_num_threads(count)
            trainer = task.trainer(recipe, seed=5, epochs=2)
            history = trainer.fit(*data)
            results.append((without_times(history), trainer.model.state_dict()))
    finally:
        ramekin.set_num_threads(threads)
    (first, weights), *others = results
    for history_fields, state in others:
        assert history_fields == first
        assert all(np.array_equal(weights[name], state[name]) for name in weights)


def test_another_seed_is_another_run() -> None:
    histories = [as_task("classify").trainer("float32", seed, 1) for seed in (0, 1)]
    first, second = (trainer.fit(*as_task("classify").data()) for trainer in histories)
    assert first.step_losses != second.step_losses


# --- the loop ---


def test_batches_are_as_documented() -> None:
    seen: list[Any] = []

    class Spy(Module):
        def forward(self, x: Any) -> Any:
            seen.append(x[:, 0].astype(int).tolist())
            return np.zeros((len(x), 1), np.float32)

        def backward(self, dy: Any) -> Any:
            return dy

    x = np.arange(10, dtype=np.float32)[:, None]
    spy = Spy()
    Trainer(spy, MeanSquaredError(), SGD([]), batch_size=4, epochs=2, seed=9).fit((x, x), (x, x))
    rng = np.random.default_rng(9)
    expected = []
    for _ in range(2):
        order = rng.permutation(10).tolist()
        expected += [order[:4], order[4:8], order[8:], list(range(10))]
    # Before training, one row of each set tells the width of the output.
    assert seen == [[0], [0], *expected]


def test_history_adds_up() -> None:
    data = toy_data()
    trainer = toy_trainer(schedule=CosineSchedule())
    history = trainer.fit(data, toy_data(1))
    assert len(history.step_losses) == len(history.step_times) == 3 * 4
    assert len(history.train_losses) == len(history.test_losses) == 3
    rows = [16, 16, 16, 2]
    expected = np.average(history.step_losses[-4:], weights=rows)
    assert history.train_losses[-1] == pytest.approx(expected, rel=1e-12)
    assert history.train_losses[-1] < history.train_losses[0]
    x, labels = toy_data(1)
    outputs = trainer.model(x)
    assert history.test_accuracies is not None
    assert history.test_accuracies[-1] == np.mean(outputs.argmax(1) == labels)
    assert history.test_losses[-1] == float(SoftmaxCrossEntropy()(outputs, labels)[0])
    assert history.skipped_steps == 0
    assert min(history.step_times) > 0


def test_regression_has_no_accuracy() -> None:
    x, _ = toy_data()
    model = Sequential(Linear(4, 4))
    history = Trainer(model, MeanSquaredError(), SGD(model.parameters(), 0.1)).fit((x, x), (x, x))
    assert history.test_accuracies is None
    assert history.test_losses[-1] < history.test_losses[0]


def test_progress_is_told_every_step() -> None:
    told: list[Progress] = []
    history = toy_trainer().fit(toy_data(), toy_data(1), progress=told.append)
    assert [now.step for now in told] == list(range(1, 13))
    assert {(now.total_steps, now.epochs) for now in told} == {(12, 3)}
    assert [now.epoch for now in told] == [0] * 4 + [1] * 4 + [2] * 4
    assert tuple(now.loss for now in told) == history.step_losses


def test_evaluation_covers_more_rows_than_one_pass() -> None:
    x, labels = toy_data(2, n=2500)
    trainer = toy_trainer()
    loss, accuracy = trainer.evaluate(x, labels)
    outputs = trainer.model(x)
    assert accuracy == np.mean(outputs.argmax(1) == labels)
    # Means over parts and over the whole differ by the rounding of float32 means.
    assert loss == pytest.approx(float(SoftmaxCrossEntropy()(outputs, labels)[0]), rel=1e-6)


# --- loss scaling ---


def test_a_power_of_two_on_the_loss_changes_nothing_in_float32() -> None:
    plain = toy_trainer().fit(toy_data(), toy_data(1))
    scaled = toy_trainer(loss_scale=StaticLossScale(2.0**10)).fit(toy_data(), toy_data(1))
    assert scaled.step_losses == plain.step_losses
    assert scaled.loss_scale == 1024.0


def test_overflow_skips_the_step_and_halves_the_scale() -> None:
    # A gradient of the mean of 16 rows is at most 1/16; times 2^24 it is beyond float16 (65504)
    # until some halvings have brought it into range, where it stays: 48 rows, no shorter batch.
    trainer = toy_trainer("float16", loss_scale=DynamicLossScale(scale=2.0**24))
    before = trainer.model.state_dict()
    states = []

    def look(now: Progress) -> None:
        states.append((trainer.loss_scale.scale, trainer.model.state_dict()))

    history = trainer.fit(toy_data(n=48), toy_data(1), progress=look)
    skipped = history.skipped_steps
    assert 1 <= skipped < len(states)
    assert [scale for scale, _ in states[:skipped]] == [2.0 ** (23 - i) for i in range(skipped)]
    unchanged = states[skipped - 1][1]
    assert all(np.array_equal(before[name], unchanged[name]) for name in before)
    moved = states[skipped][1]
    assert not np.array_equal(before["0.weight"], moved["0.weight"])
    assert history.loss_scale == 2.0 ** (24 - skipped)


def test_skipped_steps_do_not_reach_the_optimizer() -> None:
    rates = []

    class Counting(SGD):
        def step(self, lr: float | None = None) -> None:
            rates.append(lr)
            super().step(lr)

    model = toy_model()
    schedule = CosineSchedule()
    trainer = Trainer(
        model, SoftmaxCrossEntropy(), Counting(model.parameters(), 0.1), "float16",
        batch_size=16, epochs=3, schedule=schedule, loss_scale=DynamicLossScale(2.0**24),
    )  # fmt: skip
    history = trainer.fit(toy_data(n=48), toy_data(1))
    # The schedule has moved on by the skipped steps all the same.
    expected = [0.1 * schedule(step, 9) for step in range(history.skipped_steps, 9)]
    assert history.skipped_steps > 0
    assert rates == expected


def test_clipping_acts_on_the_unscaled_gradient_of_taken_steps() -> None:
    rates = []

    class Looking(SGD):
        def step(self, lr: float | None = None) -> None:
            rates.append(gradient_norm(self.parameters))
            super().step(lr)

    for scale in (1.0, 2.0**12):
        model = toy_model()
        Trainer(
            model, SoftmaxCrossEntropy(), Looking(model.parameters(), 0.1),
            batch_size=16, epochs=2, loss_scale=StaticLossScale(scale), max_norm=0.25,
        ).fit(toy_data(), toy_data(1))  # fmt: skip
    plain, scaled = rates[:8], rates[8:]
    assert plain == scaled
    assert max(plain) == pytest.approx(0.25, rel=1e-5)
    unclipped = toy_trainer().fit(toy_data(), toy_data(1))
    assert toy_trainer(max_norm=1e9).fit(toy_data(), toy_data(1)).step_losses == unclipped.step_losses


def test_gradients_that_never_are_finite_leave_the_model_alone() -> None:
    # Unscaled e4m3fn has no infinity: 1000 becomes NaN in the forward pass, in every step.
    recipe = Recipe("narrow", float8_e4m3fn, float16, float16)
    x, labels = toy_data()
    trainer = toy_trainer(recipe)
    before = trainer.model.state_dict()
    history = trainer.fit((x * 1000, labels), (x * 1000, labels))
    assert history.skipped_steps == 12
    assert np.isnan(history.train_losses).all()
    assert history.test_accuracies is not None
    after = trainer.model.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_recipe_chooses_the_loss_scale() -> None:
    assert toy_trainer("float16").loss_scale == DynamicLossScale()
    for name in ("float32", "bfloat16", "float8", "float16-unscaled", "float8-unscaled"):
        assert toy_trainer(name).loss_scale.scale == 1.0


def test_all_states_and_weights_in_bfloat16_train_as_float32_does() -> None:
    task = as_task("classify")

    def test_loss(state_format: str, **masters: Any) -> float:
        recipe = Recipe("mine", "bfloat16", "bfloat16", "bfloat16", **masters)
        trainer = task.trainer(recipe, seed=0, epochs=6)
        trainer.optimizer = AdamW(
            trainer.model.named_parameters(),
            task.learning_rate,
            weight_decay=task.weight_decay,
            state_format=state_format,
        )
        return trainer.fit(*task.data()).test_losses[-1]

    right = test_loss("float32")
    # Measured: half a percent off with stochastic rounding, a tenth with weights to nearest.
    assert test_loss("bfloat16", master_weights="bfloat16") == pytest.approx(right, rel=0.02)
    nearest = test_loss("bfloat16", master_weights="bfloat16", master_rounding="ties-to-even")
    assert nearest > 1.05 * right


def test_states_are_rounded_by_the_seed_of_the_run() -> None:
    means = []
    for seed in (1, 1, 2):
        model = toy_model()
        optimizer = AdamW(model.named_parameters(), state_format="bfloat16")
        # Equal rows, so that their order, which the seed decides too, does not show.
        x = np.repeat(toy_data()[0][:1], 16, 0)
        trainer = Trainer(model, SoftmaxCrossEntropy(), optimizer, batch_size=16, epochs=1, seed=seed)
        trainer.fit((x, np.zeros(16, int)), (x, np.zeros(16, int)))
        means.append(optimizer.state_dict()["0.weight.mean"].astype(np.float32))
    assert np.array_equal(means[0], means[1])
    assert not np.array_equal(means[0], means[2])


# --- refused, before anything is trained ---

X, LABELS = toy_data()


def changed(value: float) -> Any:
    x = X.copy()
    x[7, 2] = value
    return x


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (changed(np.nan), LABELS, "train: inputs must be finite"),
        (changed(-np.inf), LABELS, "train: inputs must be finite"),
        (X.astype(np.float64) * 1e300, LABELS, "train: inputs must be finite in float32"),
        (X.astype(complex), LABELS, "inputs must be real numbers, got dtype complex128"),
        (X.astype(object), LABELS, "inputs must be real numbers, got dtype object"),
        (X.astype(str), LABELS, "inputs must be real numbers, got dtype <U"),
        (X > 0, LABELS, "inputs must be real numbers, got dtype bool"),
        (X[:, 0], LABELS, r"inputs must have shape \(n, features\)"),
        (X[:0], LABELS[:0], "not be empty"),
        (X[:, :3], LABELS, r"input of shape \(1, 3\) does not fit"),
        (X, LABELS[:-1], r"labels have shape \(49,\), expected \(50,\)"),
        (X, LABELS[:, None], r"labels have shape \(50, 1\)"),
        (X, LABELS.astype(np.float32), "labels must be integers, got dtype float32"),
        (X, LABELS + 1, "labels run from 1 to 2, accepted are 0 to 1"),
        (X, LABELS - 1, "labels run from -1 to 0, accepted are 0 to 1"),
    ],
)
def test_bad_training_data(inputs: Any, targets: Any, message: str) -> None:
    trainer = toy_trainer()
    before = trainer.model.state_dict()
    with pytest.raises(ValueError, match=message):
        trainer.fit((inputs, targets), toy_data(1))
    assert all(np.array_equal(before[n], v) for n, v in trainer.model.state_dict().items())


def test_bad_test_data_is_found_before_training() -> None:
    trainer = toy_trainer()
    before = trainer.model.state_dict()
    with pytest.raises(ValueError, match="test: inputs must be finite"):
        trainer.fit(toy_data(), (changed(np.nan), LABELS))
    assert all(np.array_equal(before[n], v) for n, v in trainer.model.state_dict().items())


def test_not_a_pair() -> None:
    with pytest.raises(ValueError, match="train must be a pair of arrays"):
        toy_trainer().fit((X,), toy_data(1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (X[:, :3], r"targets have shape \(50, 3\), expected \(50, 4\)"),
        (changed(np.nan), "train: targets must be finite"),
        (X.astype(complex), "targets must be real numbers, got dtype complex128"),
    ],
)
def test_bad_regression_targets(targets: Any, message: str) -> None:
    model = Sequential(Linear(4, 4))
    with pytest.raises(ValueError, match=message):
        Trainer(model, MeanSquaredError(), SGD(model.parameters())).fit((X, targets), (X, X))


def test_small_floats_and_integers_are_data() -> None:
    x = np.round(X * 4).astype(np.int8)
    first = toy_trainer().fit((x, LABELS), (x, LABELS))
    halves = x.astype(float16.dtype)
    quarters = x.astype(float8_e4m3fn.dtype)  # up to 16 in steps of one: exact
    for same in (halves, quarters):
        assert np.array_equal(same.astype(np.float32), x)
        again = toy_trainer().fit((same, LABELS.astype(np.uint8)), (same, LABELS))
        assert again.step_losses == first.step_losses


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"epochs": 2.0}, TypeError, "epochs must be an integer, not float"),
        ({"seed": True}, TypeError, "seed must be an integer, not bool"),
        ({"max_norm": 0.0}, ValueError, "max_norm must be a finite number above 0, got 0.0"),
        ({"recipe": "float12"}, ValueError, "unknown recipe 'float12'"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        toy_trainer(**options)


def test_tasks_are_looked_up_by_name() -> None:
    task = as_task("autoencode")
    assert isinstance(task, Task)
    assert as_task(task) is task
    with pytest.raises(ValueError, match="unknown task 'walk'; accepted: classify, autoencode"):
        as_task("walk")
    with pytest.raises(TypeError, match="a task is a name or a Task, not int"):
        as_task(3)  # type: ignore[arg-type]
