"""Checkpoints of training: what they hold, and which are refused, with all files left as they were."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ramekin
from interrupted_run import STEPS, callbacks, data, outcome, trainer
from ramekin import storage
from ramekin.amp import AutoPrecision, Operand, StaticLossScale
from ramekin.callbacks import Callback, EarlyStopping
from ramekin.fingerprint import described, first_difference
from ramekin.formats import FloatFormat, float32
from ramekin.nn import Linear, MeanSquaredError, ReLU, Sequential, SoftmaxCrossEntropy
from ramekin.optim import SGD, AdamW, ConstantSchedule, CosineSchedule
from ramekin.trainer import Trainer
from ramekin.training_checkpoint import Checkpoints, CheckpointWarning, DamagedError, Snapshot


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


class StoppedError(Exception):
    """Ends a run."""


class Stop(Callback):
    def __init__(self, after: int) -> None:
        self.after = after

    def on_step(self, trainer: Any, progress: Any) -> None:
        if progress.step == self.after:
            raise StoppedError


def stopped(kept: Any, after: int = 12) -> None:
    with pytest.raises(StoppedError):
        trainer().fit(data(), data(), callbacks=[*callbacks(), Stop(after)], checkpoint=kept)


def resume(kept: Any, run: Trainer | None = None, train: Any = None, calls: Any = None) -> Any:
    run = trainer() if run is None else run
    calls = callbacks() if calls is None else calls
    return outcome(run, run.fit(train or data(), data(), callbacks=calls, checkpoint=kept, resume=True))


def test_one_at_each_epoch_end_and_the_last_k_stay(tmp_path: Path) -> None:
    def names(**options: Any) -> list[str]:
        kept = Checkpoints(tmp_path / str(options), **options)
        trainer(epochs=3).fit(data(), data(), checkpoint=kept)
        return [str(step) for step in kept.steps()]

    assert names() == ["15", "10"]
    assert names(keep=9) == ["15", "10", "5"]
    assert names(keep=9, every=4) == ["15", "12", "10", "8", "5", "4"]
    assert names(keep=1, every=1) == ["15"]


def test_what_a_checkpoint_holds(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, every=1, keep=1)
    stopped(kept, 14)  # after it, the callbacks come before the checkpoint
    (path,) = tmp_path.iterdir()
    snapshot = Snapshot.read(path)
    assert snapshot.step == 13
    assert snapshot.identity["versions"] == {"ramekin": ramekin.__version__, "numpy": np.__version__}
    assert snapshot.state["epoch"] == 2
    assert snapshot.state["precision"] == {"step": 12}
    assert {kind["kind"] for kind in snapshot.state["loss_scales"].values()} == {
        "NoLossScale",
        "DynamicLossScale",
    }
    order = np.random.default_rng(7)
    for _ in range(2):
        order.permutation(len(data()[0]))
    assert snapshot.state["rng"] == order.bit_generator.state
    assert len(snapshot.arrays["history.step_losses"]) == 13
    assert len(snapshot.arrays["history.test_losses"]) == 2
    assert snapshot.arrays["scaling.0.step"] == 13
    # Any reader of safetensors sees the weights.
    assert storage.load(path)["model.0.weight"].shape == (24, 32)


def test_a_fresh_run_leaves_the_checkpoints_of_another_alone(tmp_path: Path) -> None:
    stopped(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"step-000000010.safetensors is a checkpoint of an earlier run"):
        trainer().fit(data(), data(), checkpoint=tmp_path)
    assert contents(tmp_path) == before


def test_resume_without_checkpoints_begins(tmp_path: Path) -> None:
    run = trainer(epochs=1)
    history = run.fit(data(), data(), checkpoint=tmp_path / "new", resume=True)
    assert len(history.step_losses) == 5
    with pytest.raises(ValueError, match="resume needs to be told where checkpoints are"):
        trainer().fit(data(), data(), resume=True)


def test_precision_that_switches_itself_goes_on_to_the_bit(tmp_path: Path) -> None:
    def auto() -> Trainer:
        ladder = ("mxfp4", "float8", "bfloat16", "float32")
        rule = AutoPrecision(ladder, probe_every=2, window=4, patience=1, gradient_tolerance=1e-7)
        return trainer(recipe=rule)

    whole = auto()
    history = whole.fit(data(), data(), callbacks=callbacks())
    expected = outcome(whole, history)
    steps = len(history.step_losses)
    # It has moved in the run, so what it remembers decides.
    assert len({switch.step for switch in history.switches}) > 2
    for after in range(1, steps):
        kept = Checkpoints(tmp_path / str(after), every=1)
        with pytest.raises(StoppedError):
            auto().fit(data(), data(), callbacks=[*callbacks(), Stop(after)], checkpoint=kept)
        assert resume(kept, auto()) == expected, after


# --- damage ---


@pytest.mark.parametrize("what", ["truncated", "empty", "flipped", "header", "number"])
def test_a_damaged_newest_is_passed_over_and_that_is_said(what: str, tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, every=2, keep=3)
    stopped(kept)
    expected = outcome(run := trainer(), run.fit(data(), data(), callbacks=callbacks()))
    path = kept.path(10)
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "truncated": whole[:-1],
        "empty": b"",
        "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "header": whole.replace(b"F32", b"I32", 1),
        "number": whole.replace(b'\\"epoch\\":2', b'\\"epoch\\":1', 1),
    }[what]
    assert damaged != whole
    path.write_bytes(damaged)
    with pytest.warns(
        CheckpointWarning, match=r"step-000000010.*The run goes on from .*step-000000008"
    ) as told:
        assert resume(kept) == expected
    assert "\n" not in str(told[0].message)


def test_every_bit_counts(tmp_path: Path) -> None:
    """Whichever byte of a file is changed: it is damaged, or no checkpoint, never believed."""
    stopped(tmp_path)
    path = Checkpoints(tmp_path).path(10)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*range(0, 600, 7), *rng.integers(0, len(whole), 300)]:
        bit = 1 << int(rng.integers(8))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            Snapshot.read(path)
        except ValueError:
            continue
        raise AssertionError(f"byte {place}")
    path.write_bytes(whole)
    assert Snapshot.read(path).step == 10


def test_nothing_whole_is_refused(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, every=2)
    stopped(kept)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-5])
    before, run = contents(tmp_path), trainer()
    weights = run.model.state_dict()
    with pytest.raises(ValueError, match=r"no checkpoint in .* is whole: .*step-000000010") as told:
        resume(kept, run)
    assert len(str(told.value).splitlines()) == 1
    assert contents(tmp_path) == before
    assert all(np.array_equal(weights[name], value) for name, value in run.model.state_dict().items())


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    stopped(tmp_path)
    storage.save(Checkpoints(tmp_path).path(11), {"weight": np.ones(3)})
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"step-000000011.safetensors is no checkpoint of a training run"):
        resume(tmp_path)
    assert contents(tmp_path) == before


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    stopped(tmp_path)
    path = Checkpoints(tmp_path).path(10)
    tensors = storage.load(path)
    arrays = {name: np.array(tensors[name]) for name in tensors}
    text = tensors.metadata["ramekin_training_checkpoint"].replace('"format":1', '"format":2')
    sha = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        sha.update(f"\n{name} {arrays[name].dtype.name} {arrays[name].shape}\n".encode())
        sha.update(arrays[name].tobytes())
    notes = {"ramekin_training_checkpoint": text, "ramekin_sha256": sha.hexdigest()}
    storage.save(path, arrays, metadata=notes)
    with pytest.raises(ValueError, match="is of format 2; accepted: 1"):
        resume(tmp_path)


def test_a_disk_that_fills_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Checkpoints(tmp_path, every=1)
    stopped(kept)
    before = contents(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as broken:
            broken.setattr(os, step, full)
            with pytest.raises(OSError, match="No space left"):
                resume(kept)
        assert contents(tmp_path) == before


# --- another run ---


def _another_model(**changes: Any) -> Any:
    run = trainer()
    model = run.model
    for place, module in changes.items():
        modules = list(model.modules)  # type: ignore[attr-defined]
        modules[int(place[1:])] = module
        model = Sequential(*modules)
    return Trainer(
        model, run.loss, AdamW(model.parameters(), 0.02, weight_decay=0.1), run.precision,
        batch_size=12, epochs=4, seed=7, max_norm=1.0, schedule=CosineSchedule(warmup=0.2), observe_every=3,
    )  # fmt: skip


def _another_optimizer(make: Any) -> Any:
    run = trainer()
    run.optimizer = make(run.model.parameters())
    return run


RNG = np.random.default_rng(0)
OTHERS: list[tuple[Any, str]] = [
    (lambda: _another_model(m2=Linear(24, 32, rng=RNG)), r"model.recipes.2 is another"),
    (lambda: _another_model(m1=Sequential(ReLU())), r"model.modules"),
    (lambda: _another_model(m3=ReLU()), r"model.modules.3.type is '.*GELU' there and '.*ReLU' here"),
    (
        lambda: _another_model(m4=Linear(32, 3, rng=RNG)),
        r"model.shapes.4.weight is \[2, 32\] there and \[3, 32\] here",
    ),
    (lambda: _another_model(m4=Linear(32, 2, bias=False)), r"model.shapes.4.bias is \[2\] there and nothing"),
    (
        lambda: _another_optimizer(lambda p: SGD(p, 0.02)),
        r"optimizer.type is '.*AdamW' there and '.*SGD' here",
    ),
    (
        lambda: _another_optimizer(lambda p: AdamW(p, 0.03, weight_decay=0.1)),
        "optimizer.lr is 0.02 there and 0.03 here",
    ),
    (
        lambda: _another_optimizer(lambda p: AdamW(p, 0.02, betas=(0.9, 0.99), weight_decay=0.1)),
        r"optimizer.betas is \[0.9, 0.999\] there and \[0.9, 0.99\] here",
    ),
    (lambda: _another_optimizer(lambda p: AdamW(p[:-1], 0.02, weight_decay=0.1)), "optimizer.of"),
    (lambda: trainer(batch_size=13), "options.batch_size is 12 there and 13 here"),
    (lambda: trainer(epochs=5), "options.epochs is 4 there and 5 here"),
    (lambda: trainer(seed=8), "options.seed is 7 there and 8 here"),
    (lambda: trainer(max_norm=None), "options.max_norm is 1.0 there and None here"),
    (lambda: trainer(schedule=ConstantSchedule(0.2)), "options.schedule.type"),
    (lambda: trainer(schedule=CosineSchedule(0.1)), "options.schedule.warmup is 0.2 there and 0.1 here"),
    (lambda: trainer(loss_scale=StaticLossScale(2.0)), "options.loss_scale is another"),
    (lambda: trainer(recipe="float8"), "options.precision"),
    (lambda: trainer(overrides={"4": "float32"}), "options.precision"),
]


@pytest.mark.parametrize(("make", "said"), OTHERS, ids=[said[:40] for _, said in OTHERS])
def test_a_checkpoint_of_another_run_is_refused(make: Any, said: str, tmp_path: Path) -> None:
    stopped(tmp_path)
    before, run = contents(tmp_path), make()
    weights = run.model.state_dict()
    with pytest.raises(ValueError, match=f"is a checkpoint of another run: {said}") as told:
        resume(tmp_path, run)
    assert len(str(told.value).splitlines()) == 1
    assert contents(tmp_path) == before
    assert all(np.array_equal(weights[name], value) for name, value in run.model.state_dict().items())


def test_a_checkpoint_of_another_run_is_not_passed_over_for_an_older_one(tmp_path: Path) -> None:
    stopped(Checkpoints(tmp_path, every=2, keep=3))
    Checkpoints(tmp_path).path(8).write_bytes(b"")
    with pytest.raises(ValueError, match="checkpoint of another run"):
        resume(tmp_path, trainer(epochs=5))


def test_other_data_is_refused(tmp_path: Path) -> None:
    stopped(tmp_path)
    x, labels = data()
    one = x.copy()
    one[3, 3] = np.nextafter(one[3, 3], np.float32(9))
    with pytest.raises(ValueError, match=r"another run: data.train inputs is another"):
        resume(tmp_path, train=(one, labels))
    with pytest.raises(ValueError, match=r"another run: data.train targets is another"):
        resume(tmp_path, train=(x, 1 - labels))


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path)
    monkeypatch.setattr(ramekin, "__version__", "9.9")
    with pytest.raises(ValueError, match=r"versions.ramekin is '[0-9.]+' there and '9.9' here"):
        resume(tmp_path)


def test_callbacks_that_decide_are_part_of_a_run(tmp_path: Path) -> None:
    stopped(tmp_path)
    with pytest.raises(ValueError, match=r"another run: options.callbacks is another"):
        resume(tmp_path, calls=[EarlyStopping(1, restore_best=True)])
    with pytest.raises(ValueError, match=r"another run: options.callbacks is another"):
        resume(tmp_path, calls=[])
    # Others are not.
    assert len(resume(tmp_path, calls=[Callback(), *callbacks()])["step_losses"]) == STEPS


def test_formats_of_one_name_are_told_apart(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    stopped(kept)
    run = trainer()
    same = {
        name: [(p.recipe, str(p).rpartition(":")[2]) for p in phases] for name, phases in run.precision.groups
    }
    changed = dict(same)
    recipe = changed["0"][0][0]
    fmt = FloatFormat(
        "float8_e4m3fn", exponent_bits=4, mantissa_bits=3, bias=8, has_infinity=False, high_nans=1
    )
    other = dataclasses.replace(recipe, activations=Operand(fmt, "current"))
    changed["0"] = [(other, "3"), *changed["0"][1:]]
    with pytest.raises(ValueError, match=r"options.precision"):
        resume(kept, trainer(recipe=changed))
    resume(kept, trainer(recipe=same))


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")

    class Second(Callback):
        def on_step(self, _: Any, progress: Any) -> None:
            with pytest.raises(BlockingIOError, match="another training run is writing there"):
                trainer().fit(data(), data(), checkpoint=tmp_path, resume=True)

    trainer(epochs=1).fit(data(), data(), callbacks=[Second()], checkpoint=tmp_path)


def test_leftovers_of_a_kill_go_and_other_files_stay(tmp_path: Path) -> None:
    for name in (".ramekin-0123456789abcdef.tmp", "notes.txt", ".ramekin-x.tmp"):
        (tmp_path / name).write_bytes(b"half")
    trainer(epochs=1).fit(data(), data(), checkpoint=tmp_path)
    assert sorted(contents(tmp_path)) == [".ramekin-x.tmp", "notes.txt", "step-000000005.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"every": 0}, ValueError, "checkpoints: every must be at least 1, got 0"),
        ({"keep": 0}, ValueError, "checkpoints: keep must be at least 1, got 0"),
        ({"every": 1.5}, TypeError, "checkpoints: every must be an integer, not float"),
        ({"keep": True}, TypeError, "checkpoints: keep must be an integer, not bool"),
    ],
)
def test_bad_checkpoints(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Checkpoints("somewhere", **arguments)


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a directory of checkpoints is a path, not int"):
        trainer().fit(data(), data(), checkpoint=3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        trainer().fit(data(), data(), checkpoint=tmp_path / "a" / "b")


# --- descriptions ---


def test_descriptions_hold_settings_and_no_state() -> None:
    model = Sequential(Linear(4, 2))
    optimizer = AdamW(model.parameters(), 0.1)
    before = described(optimizer)
    model.forward(np.ones((3, 4), np.float32))
    model.backward(np.ones((3, 2), np.float32))
    optimizer.step()
    assert described(optimizer) == before
    assert before == {
        "type": "ramekin.optim.adamw.AdamW",
        "lr": 0.1, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01,
        "state_format": described(float32),
    }  # fmt: skip
    json.dumps(before)
    assert described(SoftmaxCrossEntropy()) != described(MeanSquaredError())


def test_first_difference_names_the_place() -> None:
    assert first_difference({"a": {"b": [1]}}, {"a": {"b": [1]}}) is None
    assert first_difference({"a": float("nan")}, {"a": float("nan")}) is None
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 2}}) == "a.b is 1 there and 2 here"
    assert first_difference({"a": 1}, {}) == "a is 1 there and nothing here"
    assert first_difference({}, {"a": 1}) == "a is nothing there and 1 here"
    assert first_difference({"a": "x" * 99}, {"a": "y"}) == "a is another"


def test_damage_is_a_value_error() -> None:
    assert issubclass(DamagedError, ValueError)
