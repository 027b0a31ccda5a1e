"""Training that is stopped, at any step or by a kill at any instant, and goes on to the same bits."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import interrupted_run
from interrupted_run import STEPS, callbacks, data, outcome, trainer
from ramekin.callbacks import Callback, EarlyStopping
from ramekin.nn import Linear, MeanSquaredError, Sequential
from ramekin.optim import SGD
from ramekin.trainer import Trainer
from ramekin.training_checkpoint import Checkpoints
from stopping import Stop, StoppedError


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    run = trainer()
    return outcome(run, run.fit(data(), data(), callbacks=callbacks()))


def test_the_run_has_everything_in_it(whole: dict[str, Any]) -> None:
    """Else the tests below would show little."""
    assert whole["skipped_steps"] > 0
    assert len({switch["recipe"] for switch in whole["switches"]}) == 5
    assert len(set(whole["loss_scales"])) > 2
    run = trainer()
    run.fit(data(), data(), callbacks=callbacks())
    assert any("amax_history" in name for name in run.model.scaling_state())


@pytest.mark.parametrize("every", [1, 3])
def test_stopped_after_each_step(every: int, whole: dict[str, Any], tmp_path: Path) -> None:
    for step in range(1, STEPS + 1):
        kept = Checkpoints(tmp_path / str(step), every=every)
        with pytest.raises(StoppedError):
            trainer().fit(data(), data(), callbacks=[*callbacks(), Stop(step)], checkpoint=kept)
        run = trainer()
        seen: list[int] = []
        history = run.fit(
            data(), data(), callbacks=callbacks(), checkpoint=kept, resume=True,
            progress=lambda now, seen=seen: seen.append(now.step),
        )  # fmt: skip
        assert outcome(run, history) == whole
        # It went on from the last checkpoint, and did not begin again.
        last = max(done for done in range(step) if done % every == 0 or done % 5 == 0)
        assert seen == list(range(last + 1, STEPS + 1))


def test_stopped_in_every_step_again_and_again(whole: dict[str, Any], tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, every=1)
    for _ in range(STEPS - 1):
        with pytest.raises(StoppedError):
            trainer().fit(data(), data(), callbacks=[*callbacks(), Stop(2)], checkpoint=kept, resume=True)
    run = trainer()
    assert outcome(run, run.fit(data(), data(), callbacks=callbacks(), checkpoint=kept, resume=True)) == whole


def test_a_run_that_is_over_only_gives_its_outcome(whole: dict[str, Any], tmp_path: Path) -> None:
    trainer().fit(data(), data(), callbacks=callbacks(), checkpoint=tmp_path)
    run = trainer()

    def never(_: object) -> None:
        raise AssertionError("a step was run")

    history = run.fit(data(), data(), callbacks=callbacks(), checkpoint=tmp_path, resume=True, progress=never)
    assert outcome(run, history) == whole
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "step-000000015.safetensors",
        "step-000000020.safetensors",
    ]


def test_early_stopping_goes_on_and_stays_stopped(tmp_path: Path) -> None:
    def run(*more: Callback, **options: Any) -> tuple[Trainer, Any]:
        model = Sequential(Linear(32, 32))
        made = Trainer(
            model, MeanSquaredError(), SGD(model.parameters(), 40.0, momentum=0.5), batch_size=28, epochs=20
        )
        x, _ = data()
        return made, made.fit(
            (x, x), (x, x), callbacks=[EarlyStopping(2, restore_best=True), *more], **options
        )

    made, history = run()
    expected = outcome(made, history)
    assert len(history.train_losses) < 20
    for step in range(1, len(history.step_losses) + 1):
        kept = {"checkpoint": Checkpoints(tmp_path / str(step), every=1)}
        with pytest.raises(StoppedError):
            run(Stop(step), **kept)
        for _ in range(2):
            assert outcome(*run(**kept, resume=True)) == expected


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_killed_at_random_instants(whole: dict[str, Any], tmp_path: Path) -> None:
    program, kept, result = interrupted_run.__file__, tmp_path / "kept", tmp_path / "result"
    instants = random.Random(5)
    killed, seen = 0, set()
    for _ in range(20):
        with subprocess.Popen(
            [sys.executable, program, kept, result, "0.01"], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(instants.uniform(0, 0.06))
            process.kill()
            killed += process.wait() == -signal.SIGKILL
        seen.add(Checkpoints(kept).steps())
    subprocess.run(
        [sys.executable, program, kept, result], check=True, timeout=120, stdout=subprocess.DEVNULL
    )
    assert json.loads(result.read_text()) == whole
    assert killed > 10
    assert len(seen) > 3
    # Nothing is left of the files that were being written.
    assert sorted(path.name for path in kept.iterdir()) == [
        "step-000000019.safetensors",
        "step-000000020.safetensors",
    ]
