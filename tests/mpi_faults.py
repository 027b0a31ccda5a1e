"""One rank of a job in which something goes wrong; a program.

    mpiexec -n RANKS python mpi_faults.py WHAT WHO DIRECTORY

WHAT befalls rank WHO. With "train", ranks train with checkpoints in DIRECTORY, slowly, after they have
written their process ids there.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import interrupted_run
import ramekin
from ramekin.distributed import World, join
from ramekin.trainer import Trainer
from ramekin.training_checkpoint import Checkpoints


def train(world: World, directory: Path, pause: float = 0.0) -> tuple[Trainer, ramekin.trainer.History]:
    trainer = interrupted_run.trainer(shards=8, compress="float8")
    data = interrupted_run.data()
    kept = Checkpoints(directory / "kept", every=1)
    history = trainer.fit(
        data, data, callbacks=interrupted_run.callbacks(), checkpoint=kept, resume=True, world=world,
        progress=lambda _: time.sleep(pause),
    )  # fmt: skip
    return trainer, history


def main(what: str, who: str, directory: str) -> None:
    is_mine = any(os.environ.get(name) == who for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK"))
    if what == "version" and is_mine:
        ramekin.__version__ = "0.0.1"
    with join() as world:
        assert is_mine == (str(world.rank) == who)
        if what == "train":
            (Path(directory) / f"{world.rank}.pid").write_text(str(os.getpid()))
            train(world, Path(directory), 0.1)
        elif what == "data":
            trainer, (x, y) = interrupted_run.trainer(shards=8), interrupted_run.data()
            trainer.fit((x + is_mine, y), (x, y), world=world)
        elif what == "options":
            data = interrupted_run.data()
            interrupted_run.trainer(shards=8, batch_size=12 + is_mine).fit(data, data, world=world)
        elif what == "weights":
            trainer, data = interrupted_run.trainer(shards=8), interrupted_run.data()
            # As of a machine that computes something else.
            if is_mine:
                trainer.model.parameters()[0].value[0, 0] += 1
            trainer.fit(data, data, world=world)
        elif what == "all raise":
            raise ValueError("what all of them raise")
        elif is_mine and what == "raise":
            raise OSError("no space left")
        elif is_mine and what == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif is_mine and what == "hang":
            time.sleep(600)
        elif is_mine and what == "exit":
            os._exit(0)
        elif is_mine and what == "terminate":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(600)
        world.barrier()


if __name__ == "__main__":
    main(*sys.argv[1:])
