"""``mpiexec -n N ramekin convert`` and ``analyze``: what one process gives, also after a rank died."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ramekin as rk
from test_checkpoint_killed import files

MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
pytest.importorskip("mpi4py")
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec")


def run(ranks, *words, check=True):
    """Run Python with these words, as so many ranks; 0 is without MPI."""
    launcher = [MPIEXEC, "--oversubscribe", "-n", str(ranks)] if ranks else []
    # Open MPI refuses root, as in containers, unless it is told otherwise.
    # And it makes a terminal of the output, in which words would be bold.
    own = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "TERM": "dumb"}
    return subprocess.run(
        [*launcher, sys.executable, *map(str, words)],
        capture_output=True, text=True, timeout=120, check=check, env=os.environ | own,
    )  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Tensors of one to four pieces, of which one is scaled as a whole."""
    directory = tmp_path_factory.mktemp("checkpoint") / "in"
    generator = np.random.default_rng(4)
    tensors = {f"layer.{i}": generator.standard_normal((300 + i, 700)).astype(np.float32) for i in range(8)}
    tensors["embed"] = rk.cast(generator.standard_normal((4000, 1000)), rk.bfloat16)
    tensors["mx"] = rk.quantize(generator.standard_normal((64, 96)), rk.mxfp4)
    tensors["ids"] = np.arange(1 << 20)
    rk.save(directory, tensors, max_shard_size=10_000_000)
    (directory / "config.json").write_text("{}")
    return directory


def test_ranks_convert_as_one_process(source, tmp_path):
    told = {}
    for ranks in (0, 2, 4):
        target = tmp_path / str(ranks) / "out"
        target.parent.mkdir()
        words = [
            "-m",
            "ramekin",
            "convert",
            source,
            target,
            "--to",
            "nvfp4",
            "--json",
            target.parent / "told",
        ]
        done = run(ranks, *words)
        told[ranks] = [
            text.replace(str(target.parent), "")
            for text in (done.stdout, (target.parent / "told").read_text())
        ]
        assert done.stderr == f"wrote {target.parent / 'told'}\n"
        assert files(target) == files(tmp_path / "0" / "out")
    assert told[2] == told[4] == told[0]


def test_ranks_analyze_as_one_process(source):
    words = ["-m", "ramekin", "analyze", source, "--json", "-", "--formats", "nvfp4", "float8_e4m3fn:row"]
    expected, done = run(0, *words), run(3, *words)
    assert done.stdout == expected.stdout
    assert done.stderr == expected.stderr


DISTURBED = """
import os, signal, sys, time
from pathlib import Path
from ramekin.checkpoint.partial import Partial
from ramekin import convert_checkpoint
from ramekin.distributed import join

note = Partial.note

def noted(self, *rest):
    note(self, *rest)
    if world.rank == int(sys.argv[3]):
        journals = list(self.directory.glob("journal*.jsonl"))
        while sum(path.read_text().count("layer") for path in journals) < 4:
            time.sleep(0.01)
        eval(sys.argv[4])

Partial.note = noted
with join() as world:
    convert_checkpoint(*sys.argv[1:3], "nvfp4", world=world)
"""


@pytest.mark.parametrize(
    ("rank", "what", "line"),
    [
        (2, "os.kill(os.getpid(), signal.SIGKILL)", "rank 2 of 4 on"),
        (1, "open('/nowhere/file')", "rank 1 of 4: FileNotFoundError"),
    ],
)
def test_what_a_rank_leaves_is_taken_up(rank, what, line, source, tmp_path):
    rk.convert_checkpoint(source, tmp_path / "whole", "nvfp4")
    target = tmp_path / "out"
    script = tmp_path / "disturbed.py"
    script.write_text(DISTURBED)
    failed = run(4, script, source, target, rank, what, check=False)
    assert failed.returncode != 0
    lines = [text for text in failed.stderr.splitlines() if text.startswith("ramekin: error: ")]
    assert len(lines) == 1
    assert line in lines[0]
    assert not target.exists()
    words = ["-m", "ramekin", "convert", source, target, "--to", "nvfp4", "--json", "-"]
    resumed = run(2, *words)
    assert '"resumed": 0' not in resumed.stdout
    assert files(target) == files(tmp_path / "whole")
    assert not list(tmp_path.glob(".*"))


def test_what_is_not_accepted_is_told_once(source, tmp_path):
    failed = run(2, "-m", "ramekin", "convert", source, tmp_path / "no" / "out", "--to", "nvfp4", check=False)
    assert failed.returncode == 2
    assert failed.stderr.count("ramekin: error: ") == 1
    assert f"cannot convert: '{tmp_path / 'no'}' No such file or directory" in failed.stderr
