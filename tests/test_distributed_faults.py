"""Jobs in which a rank dies, raises, hangs or differs: they end soon, by one line that names it."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

import interrupted_run
import ramekin
from mpi_faults import train
from mpi_jobs import command, environment, errors, needs_mpi, run_ranks
from ramekin.distributed import World

PROGRAM = Path(__file__).parent / "mpi_faults.py"
pytestmark = [needs_mpi, pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")]

DIED = "died: its process ended without a word, as by a kill, a crash or for want of memory"
LATE = "; the limit is 2 s, or what RAMEKIN_MPI_TIMEOUT says"


CASES = {
    "raise 2": "rank 2 of 4: OSError: no space left",
    "all raise 0": "rank 0 of 4: ValueError: what all of them raise",
    "exit 0": f"rank 0 of 4 on HOST {DIED}",
    "terminate 3": "rank 3 of 4: ended by SIGTERM",
    "hang 3": f"rank 3 of 4 on HOST did not arrive where the others wait{LATE}",
    "version 2": "rank 2 of 4 runs ramekin 0.0.1, and rank 0 VERSION: bits are alike in one version alone",
    "options 1": "the run of rank 1 of 4 is not that of rank 0: options.batch_size is 13 there and 12 here",
    "data 3": "the run of rank 3 of 4 is not that of rank 0: data.train inputs is another",
    "weights 2": "after step 5 rank 2 of 4 has other weights than rank 0: "
    "its machine computes something else",
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_names_rank_and_cause(case: str, tmp_path: Path) -> None:
    what, _, who = case.rpartition(" ")
    line = CASES[case].replace("HOST", socket.gethostname()).replace("VERSION", ramekin.__version__)
    result = run_ranks(4, PROGRAM, what, who, tmp_path, RAMEKIN_MPI_TIMEOUT="2")
    assert result.returncode != 0
    assert errors(result) == [f"ramekin: error: {line}"]
    # The traceback of what was not foreseen, once.
    assert result.stderr.count("Traceback") == ("raise" in what)


def test_a_rank_that_does_not_answer(tmp_path: Path) -> None:
    # Longer than a rank may be silent, 5 s.
    result = run_ranks(3, PROGRAM, "stop", 1, tmp_path, RAMEKIN_MPI_TIMEOUT="6")
    assert len(errors(result)) == 1
    assert errors(result)[0].startswith("ramekin: error: rank 1 of 3 on ")
    assert " does not answer; the limit is 6 s" in errors(result)[0]


def killed_at(who: int, after: float, directory: Path) -> tuple[float, str]:
    """Kill a rank of four that train; return how long the job then took to end, and its stderr."""
    for old in directory.glob("*.pid"):
        old.unlink()
    with subprocess.Popen(
        command(4, PROGRAM, "train", -1, directory),
        env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    ) as job:  # fmt: skip
        paths = [directory / f"{rank}.pid" for rank in range(4)]
        while not all(path.exists() and path.read_text() for path in paths):
            assert job.poll() is None
            time.sleep(0.01)
        time.sleep(after)
        began = time.monotonic()
        os.kill(int(paths[who].read_text()), signal.SIGKILL)
        _, told = job.communicate(timeout=60)
        assert job.returncode != 0
        return time.monotonic() - began, told


def test_killed_at_random_instants(tmp_path: Path) -> None:
    instants = random.Random(1)
    for who in (0, 2, 3):
        seconds, told = killed_at(who, instants.uniform(0.0, 0.5), tmp_path)
        assert seconds < 30
        lines = [line for line in errors(told) if "error" in line]
        assert len(lines) == 1
        assert lines[0].startswith(f"ramekin: error: rank {who} of 4 on ")
        assert lines[0].endswith(DIED)
    # The last whole checkpoint resumes, in another number of ranks, to the same end.
    outcomes = []
    for directory in (tmp_path, tmp_path / "whole"):
        directory.mkdir(exist_ok=True)
        outcomes.append(interrupted_run.outcome(*train(World(), directory)))
        del outcomes[-1]["bytes_sent"]
    assert outcomes[0] == outcomes[1]
