"""Who has started this process, what is said where MPI is missing, and what ranks exchange."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

import ramekin
from conftest import run_python
from mpi_jobs import needs_mpi, run_ranks
from ramekin.cli.main import main
from ramekin.distributed import RankError, World, first_in_sight, is_launched, join

LAUNCHERS = [
    {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"},
    {"PMI_RANK": "2", "PMI_SIZE": "4"},
    {"MV2_COMM_WORLD_RANK": "2", "MV2_COMM_WORLD_SIZE": "4"},
    {"PMIX_RANK": "2"},
]
INSTALL = 'several processes need mpi4py and an MPI: pip install "ramekin[mpi]"'


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for launcher in LAUNCHERS:
        for name in launcher:
            monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers_are_seen(launcher: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert (is_launched(), first_in_sight()) == (False, True)
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    assert (is_launched(), first_in_sight()) == (True, False)
    # Where mpi4py is missing, all ranks find out, and one says so.
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError) as refusal:
        join()
    assert str(refusal.value) == INSTALL


def test_one_process_needs_no_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    for launcher in ({}, {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"}):
        for name, value in launcher.items():
            monkeypatch.setenv(name, value)
        assert type(join()) is World
    with pytest.raises(ImportError, match="pip install"):
        join(mpi=True)
    monkeypatch.setenv("PMIX_RANK", "0")
    assert type(join(mpi=False)) is World


def test_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert main(["train", "--mpi", "--epochs", "1"]) == 2
    assert capsys.readouterr() == ("", f"ramekin: error: {INSTALL}\n")
    for rank in ("0", "1"):
        monkeypatch.setenv("OMPI_COMM_WORLD_RANK", rank)
        monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
        assert main(["train", "--epochs", "1"]) == 2
        assert capsys.readouterr() == ("", f"ramekin: error: {INSTALL}\n" if rank == "0" else "")
    # Other commands are each process's own.
    assert main(["formats"]) == 0


def test_nothing_imports_mpi4py_before_it_is_needed() -> None:
    code = (
        "import sys, ramekin, ramekin.trainer, ramekin.cli.main, ramekin.distributed as d\n"
        "with d.join() as world: world.barrier()\n"
        "assert 'mpi4py' not in sys.modules and world.size == 1"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("text", ["0", "-1", "soon", "inf", "nan"])
def test_limits(text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RAMEKIN_MPI_TIMEOUT", text)
    with pytest.raises(ValueError, match="RAMEKIN_MPI_TIMEOUT must be a number of seconds above 0, got"):
        join()
    assert main(["train", "--epochs", "1"]) == 2
    assert "RAMEKIN_MPI_TIMEOUT" in capsys.readouterr().err
    monkeypatch.delenv("RAMEKIN_MPI_TIMEOUT")
    with pytest.raises(ValueError, match="timeout must be a number of seconds above 0, got 0"):
        join(timeout=0.0)


def test_a_launcher_of_another_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mpi:
        """As mpi4py's, where its MPI does not know the launcher: each process is alone."""

        class COMM_WORLD:  # noqa: N801
            size = 1

        @staticmethod
        def Get_library_version() -> str:  # noqa: N802
            return "Another MPI 1.2\nof today"

    module: Any = type(sys)("mpi4py")
    module.MPI = Mpi
    monkeypatch.setitem(sys.modules, "mpi4py", module)
    monkeypatch.setenv("PMI_RANK", "1")
    monkeypatch.setenv("PMI_SIZE", "4")
    with pytest.raises(RankError) as refusal:
        join()
    assert str(refusal.value) == (
        "the launcher started 4 processes, but mpi4py sees 1: they belong to different MPIs. mpi4py uses "
        "Another MPI 1.2"
    )


def test_a_world_of_one() -> None:
    with World() as world:
        assert (world.rank, world.size, world.is_first) == (0, 1, True)
        assert world.all_gather("a") == world.gather("a") == ["a"]
        assert world.broadcast("a") == "a"
        assert world.first(lambda: 3) == 3
        world.barrier()
        world.agree({"a": 1})
        with pytest.raises(ValueError, match="there is no rank 1 in a world of 1"):
            world.exchange(1, None, None, 0)  # type: ignore[arg-type]


PROGRAM = """
import numpy as np, ramekin, sys
from ramekin.distributed import join
with join() as world:
    rank, size = world.rank, world.size
    assert world.all_gather("x" * rank) == ["x" * n for n in range(size)]
    assert world.broadcast({"of": rank}) == {"of": 0}
    assert world.gather(rank) == (list(range(size)) if rank == 0 else None)
    table = world.all_gather_array(np.array([[rank, 1.5]]))
    assert table.shape == (size, 1, 2) and table[:, 0, 0].tolist() == list(range(size))
    assert world.first(lambda: "of rank %d" % rank) == "of rank 0"
    try:
        world.first(lambda: {}["missing"])
    except KeyError as error:
        assert str(error) == "'missing'"
    else:
        raise AssertionError
    give, take = np.full(1 << 20, rank, np.uint8), np.empty(1 << 20, np.uint8)
    exchanges = [world.exchange(rank ^ 1, give, take, 3)]
    world.finish(exchanges)
    assert (take == (rank ^ 1)).all()
    world.agree({"same": [1, 2]})
    if world.is_first:
        print(size, ramekin.get_num_threads(), "mpi4py" in sys.modules)
"""


@needs_mpi
def test_what_ranks_exchange(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    # Each has its share of the CPUs.
    threads = max(1, len(os.sched_getaffinity(0)) // 4) if hasattr(os, "sched_getaffinity") else 1
    result = run_ranks(4, path, RAMEKIN_NUM_THREADS="")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"4 {threads} True\n"
    assert result.stderr == ""
    assert ramekin.get_num_threads() >= threads
