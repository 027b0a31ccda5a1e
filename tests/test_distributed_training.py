"""Training in shards: one process and many ranks come to the same bits, stopped or not, compressed or not."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ramekin as rk
from mpi_jobs import errors, needs_mpi, run_ranks
from mpi_training import COMPRESSED, NAMES, TASKS, parts, task_run, trained
from ramekin.amp import rounding_seed
from ramekin.callbacks import EarlyStopping
from ramekin.cli.main import main
from ramekin.distributed import World
from ramekin.distributed.step import ShardedStep, shard_rows
from ramekin.nn import Linear, MeanSquaredError, ReLU, Sequential, SoftmaxCrossEntropy
from ramekin.optim import SGD
from ramekin.trainer import Trainer
from stopping import Stop, StoppedError

PROGRAM = Path(__file__).parent / "mpi_training.py"


@cache
def alone(name: str) -> dict[str, Any]:
    """What a run leaves that one process ran."""
    return trained(name, World())


def same(told: dict[str, Any], name: str) -> bool:
    return {**told, "all bytes": 0} == alone(name)


def tree(parts: list[Any]) -> Any:
    """The sum over shards, as it is defined."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return tree(parts[:half]) + tree(parts[half:])


def test_the_runs_have_everything_in_them() -> None:
    """Else the tests below would show little."""
    for name in TASKS:
        told = alone(name)
        assert len(told["step_losses"]) == 12
        assert told["all bytes"] == 0
        if name.endswith("auto"):
            assert len({switch["step"] for switch in told["switches"]}) > 2
    told = alone("everything")
    assert told["skipped_steps"] > 0
    assert len({switch["recipe"] for switch in told["switches"]}) == 5
    assert told["observations"]
    assert len({alone(name)["weights"] for name in NAMES}) == len(NAMES)


@needs_mpi
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_give_the_bits_of_one_process(ranks: int, tmp_path: Path) -> None:
    result = run_ranks(ranks, PROGRAM, tmp_path / "result", "-", 0, *NAMES)
    assert result.returncode == 0, result.stderr
    told = json.loads((tmp_path / "result").read_text())
    assert [name for name in NAMES if not same(told[name], name)] == []
    # Each step sends what leaves each rank when halves, quarters and so on are exchanged, and come back.
    whole, half, quarter = (
        told[name]["all bytes"] for name in ("everything", "everything bfloat16", "everything float8")
    )
    trainer, train, _ = parts("everything")
    numbers = sum(parameter.value.size for parameter in trainer.model.parameters())
    assert whole == 2 * (ranks - 1) * 4 * numbers * trainer.run_length(len(train[0]))[0]
    assert half == whole / 2
    assert 0.25 < quarter / whole < 0.2525


@needs_mpi
def test_a_run_stopped_on_four_ranks_goes_on_with_two_and_with_one(tmp_path: Path) -> None:
    names = ("classify float8", "autoencode auto", "everything", "short batches", *COMPRESSED)
    for ranks, stop in ((4, 3), (2, 2), (1, 0)):
        result = run_ranks(ranks, PROGRAM, tmp_path / "result", tmp_path, stop, *names)
        assert result.returncode == 0, result.stderr
    told = json.loads((tmp_path / "result").read_text())
    assert [name for name in names if not same(told[name], name)] == []
    # The error comes before the last step's checkpoint. So two steps of four ranks are kept, one of two, and
    # all others are of one, which sends nothing: none began again.
    numbers = sum(parameter.value.size for parameter in parts("everything")[0].model.parameters())
    assert told["everything"]["all bytes"] == (2 * 3 + 1) * 2 * 4 * numbers


@needs_mpi
def test_eight_ranks(tmp_path: Path) -> None:
    names = ("autoencode mxfp8", "everything float8")
    result = run_ranks(8, PROGRAM, tmp_path / "result", "-", 0, *names)
    assert result.returncode == 0, result.stderr
    told = json.loads((tmp_path / "result").read_text())
    assert [name for name in names if not same(told[name], name)] == []


def test_stopped_after_each_step_in_one_process(tmp_path: Path) -> None:
    for name in ("short batches", *COMPRESSED):
        steps = len(alone(name)["step_losses"])
        for _ in range(steps - 1):
            with pytest.raises(StoppedError):
                trained(name, World(), str(tmp_path), stop=1)
        assert trained(name, World(), str(tmp_path)) == alone(name)


@pytest.mark.parametrize(("rows", "max_norm"), [(16, None), (13, None), (5, None), (13, 0.01)])
def test_a_step_is_the_tree_of_its_shards(rows: int, max_norm: float | None) -> None:
    """Against passes of each shard by itself, whose gradients NumPy weights and adds."""

    def network() -> Sequential:
        rng = np.random.default_rng(0)
        return Sequential(Linear(6, 20, rng=rng), ReLU(), Linear(20, 3, rng=rng))

    x = np.random.default_rng(1).normal(size=(rows, 6)).astype(np.float32)
    labels = np.arange(rows) % 3
    model = network()
    trainer = Trainer(
        model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.5), batch_size=rows, epochs=1, shards=8,
        max_norm=max_norm,
    )  # fmt: skip
    history = trainer.fit((x, labels), (x, labels))

    order = np.random.default_rng(0).permutation(rows)
    by_hand, gradients, losses = network(), [], []
    for shard in range(8):
        part = order[shard * rows // 8 : (shard + 1) * rows // 8]
        if not len(part):
            gradients.append([np.zeros_like(p.value) for p in by_hand.parameters()])
            continue
        loss, dy = SoftmaxCrossEntropy()(by_hand.forward(x[part]), labels[part])
        by_hand.backward(dy * np.float32(len(part) / rows))
        gradients.append([p.grad.copy() for p in by_hand.parameters()])
        losses.append(float(loss) * len(part))
    assert history.step_losses == (sum(losses) / rows,)
    for number, parameter in enumerate(by_hand.parameters()):
        parameter.grad = tree([own[number] for own in gradients])
    if max_norm is not None:
        rk.optim.clip_gradients(by_hand.parameters(), max_norm)
    SGD(by_hand.parameters(), 0.5).step()
    for ours, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        np.testing.assert_array_equal(ours.value, theirs.value)


def test_rows_of_shards() -> None:
    assert [len(range(17)[rows]) for rows in shard_rows(17, 8)] == [2, 2, 2, 2, 2, 2, 2, 3]
    assert [len(range(3)[rows]) for rows in shard_rows(3, 8)] == [0, 0, 1, 0, 0, 1, 0, 1]
    for rows in range(40):
        assert [row for part in shard_rows(rows, 16) for row in range(rows)[part]] == list(range(rows))


def test_histories_have_the_largest_magnitude_of_all_shards() -> None:
    x = np.random.default_rng(1).normal(size=(24, 6)).astype(np.float32)
    x[17, 3], x[4, 1] = -50.0, np.nan
    for rows, largest in ((x[:17], np.nan), (x[5:], 50.0)):
        model = Sequential(Linear(6, 4, recipe="float8"))
        step = ShardedStep(World(), model, MeanSquaredError(), model.parameters(), 8, None)
        step.run(rows, np.zeros((len(rows), 4), np.float32), np.arange(len(rows)), rk.amp.NoLossScale())
        state = model.scaling_state()
        assert state["0.step"] == 1
        np.testing.assert_array_equal(state["0.activations.amax_history"][-1], np.float32(largest))


def test_each_shard_has_its_own_seed() -> None:
    drawn = {rounding_seed(7, 1, 2, 3, shard) for shard in range(8)}
    assert len(drawn) == 8
    assert rounding_seed(7, 1, 2, 3) == rounding_seed(7, 1, 2, 3, 0)
    # The counter's fourth word, one counter on: NumPy's Philox counts before it draws.
    counter = np.array([3, 1, 2, 5], np.uint64)
    assert rounding_seed(7, 1, 2, 3, 5) == int(np.random.Philox(key=7, counter=counter).random_raw())


def test_probes_compare_the_gradient_of_the_whole_batch() -> None:
    x = np.random.default_rng(1).normal(size=(16, 32)).astype(np.float32)
    target = np.zeros((16, 4), np.float32)
    batch = np.arange(16)

    def probed(recipe: str) -> tuple[rk.nn.probe.Probe, Any]:
        model = Sequential(Linear(32, 4, recipe=recipe, rng=np.random.default_rng(2)))
        layer = model.modules[0]
        layer.probe = probe = rk.nn.probe.Probe()  # type: ignore[attr-defined]
        step = ShardedStep(World(), model, MeanSquaredError(), model.parameters(), 8, None)
        step.run(x, target, batch, rk.amp.NoLossScale())
        assert layer.probe is probe  # type: ignore[attr-defined]
        return probe, layer.weight.grad.astype(float)  # type: ignore[attr-defined]

    exact, reference = probed("float32")
    rounded, gradient = probed("mxfp4")
    assert exact.gradient_error == exact.rise == exact.output_error == 0.0
    assert math.isclose(exact.gradient_square, (reference**2).sum(), rel_tol=1e-6)
    # The rounded network has another dy, so only its own float32 gradient is near the rounded one.
    assert 0.0 < rounded.gradient_error < rounded.gradient_square
    assert rounded.output_error > 0.0
    assert math.isclose(rounded.gradient_square, (gradient**2).sum(), rel_tol=0.3)


def test_observers_see_all_shards() -> None:
    def observed(**options: Any) -> dict[tuple[str, str], Any]:
        trainer, train, test = task_run("classify", "float32", **options)
        trainer.observe_every = 100
        records = trainer.fit(train, test).observations
        return {(record.layer, record.slot): record for record in records}

    # float32 rounds nothing, so shards make no difference to what first operands are.
    shards, whole = observed(), observed(shards=None)
    assert shards.keys() == whole.keys()
    for name in (("0", "activations"), ("0", "weights"), ("2", "weights"), ("2", "wgrad_activations")):
        assert shards[name] == whole[name]


def test_without_shards_nothing_is_new() -> None:
    for shards in (None, 1):
        trainer, train, test = task_run("classify", "float8", shards=shards)
        assert "shards" not in trainer.options()
        assert trainer.fit(train, test).bytes_sent == ()


def test_shards_are_part_of_the_run(tmp_path: Path) -> None:
    def run(*callbacks: Any, **options: Any) -> None:
        trainer, train, test = task_run("classify", "float32", **options)
        trainer.fit(train, test, checkpoint=tmp_path, resume=True, callbacks=[*callbacks])

    with pytest.raises(StoppedError):
        run(Stop(5))
    with pytest.raises(ValueError, match=r"options\.shards is 8 there and 4 here"):
        run(shards=4)
    with pytest.raises(ValueError, match=r"options\.compress is None there and 'float8' here"):
        run(compress="float8")


def test_refusals() -> None:
    for shards in (0, 3, 2048):
        with pytest.raises(ValueError, match=f"shards must be a power of two from 1 to 1024, got {shards}"):
            task_run("classify", "float32", shards=shards)
    with pytest.raises(TypeError, match="shards must be an integer, not float"):
        task_run("classify", "float32", shards=8.0)
    with pytest.raises(ValueError, match="unknown compress 'float16'; accepted: bfloat16, float8"):
        task_run("classify", "float32", compress="float16")
    with pytest.raises(ValueError, match="compress='float8' needs shards"):
        task_run("classify", "float32", shards=None, compress="float8")

    class Three(World):
        size = 3

    trainer, train, test = task_run("classify", "float32")
    with pytest.raises(
        ValueError, match="8 shards cannot be shared out evenly to 3 ranks; accepted: 1, 2, 4, 8"
    ):
        trainer.fit(train, test, world=Three())
    trainer, train, test = task_run("classify", "float32", shards=None)
    with pytest.raises(ValueError, match="3 ranks need a batch in shards"):
        trainer.fit(train, test, world=Three())


def test_a_parameter_without_a_gradient_is_an_error() -> None:
    model = Sequential(Linear(4, 4))
    unused = Linear(4, 4)
    trainer = Trainer(
        model, MeanSquaredError(), SGD([*model.parameters(), *unused.parameters()], 0.1), shards=4
    )
    x = np.ones((8, 4), np.float32)
    with pytest.raises(RuntimeError, match="a parameter has no gradient"):
        trainer.fit((x, x), (x, x))


@needs_mpi
def test_the_command(tmp_path: Path) -> None:
    words = ["--task", "classify", "--epochs", "1", "--recipe", "float8", "--compress", "float8"]
    saved = {}
    for ranks in (1, 4):
        made = [tmp_path / f"{ranks}.{what}" for what in ("json", "csv", "safetensors", "html")]
        options = zip(("--json", "--history", "--save", "--report"), made, strict=True)
        where = [word for pair in options for word in pair]
        result = run_ranks(
            ranks, "-m", "ramekin", "train", *words, *where, "--checkpoint", tmp_path / f"kept{ranks}"
        )
        assert result.returncode == 0, result.stderr
        # One rank speaks.
        assert result.stdout.count("classify digits") == 1
        assert result.stderr.count("wrote ") == 4
        told = json.loads(made[0].read_text())
        assert told["settings"]["shards"] == 8
        assert told["processes"] == ranks
        assert (told["bytes_sent"] > 0) == (ranks > 1)
        saved[ranks] = made[2].read_bytes(), told["weights_sha256"], told["test_losses"]
        assert result.stdout.count("bytes a step") == 1
    assert saved[1] == saved[4]
    # It goes on without a launcher, by its shards.
    again = tmp_path / "again.json"
    more = [
        "--shards",
        "8",
        "--checkpoint",
        tmp_path / "kept4",
        "--resume",
        "--report",
        made[3],
        "--json",
        again,
    ]
    assert main(["train", *words, *map(str, more)]) == 0
    assert json.loads(again.read_text())["weights_sha256"] == saved[1][1]


@needs_mpi
def test_errors_of_the_command_are_one_line() -> None:
    for words, line in (
        (["--shards", "3"], "ramekin: error: shards must be a power of two from 1 to 1024, got 3"),
        (["--recipe", "float9"], "ramekin: error: unknown recipe 'float9'"),
        (["--epochs", "none"], "ramekin: error: argument --epochs: "),
    ):
        result = run_ranks(2, "-m", "ramekin", "train", *words)
        assert result.returncode == 2
        assert len(errors(result)) == 1
        assert errors(result)[0].startswith(line)
        assert "Traceback" not in result.stderr


def test_early_stopping_in_shards(tmp_path: Path) -> None:
    """A callback ends the run in every rank, as it sees the same."""
    trainer, train, test = task_run("autoencode", "float32")
    history = trainer.fit(train, test, callbacks=[EarlyStopping(1, min_delta=1e9)])
    assert len(history.train_losses) == 2
