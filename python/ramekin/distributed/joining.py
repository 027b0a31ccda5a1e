"""Joining the world that a launcher made: MPI, a watchdog, and what all ranks must have alike."""

from __future__ import annotations

import math
import os
import secrets
import socket
import time
from collections.abc import Sequence

import ramekin
from ramekin.distributed.launch import INSTALL, is_launched, launched_size
from ramekin.distributed.mpi_world import MpiWorld
from ramekin.distributed.watchdog import Watchdog, say
from ramekin.distributed.world import RankError, World
from ramekin.system import get_num_threads, set_num_threads

__all__ = ["join"]

_TIMEOUT = "RAMEKIN_MPI_TIMEOUT"
_DEFAULT_LIMIT = 300.0
# For the connections of watchdogs; a network that lets none through must not take longer.
_CONNECTING = 10.0


def join(*, mpi: bool | None = None, timeout: float | None = None) -> World:
    """Return the world of this process, to be used in a ``with`` block.

    Parameters
    ----------
    mpi : bool, optional
        Whether there is MPI; if not given, where a launcher's environment variables say so. ``mpiexec -n 1``
        needs none.
    timeout : float, optional
        Seconds that a rank may wait for another before the job ends; those of the environment variable
        ``RAMEKIN_MPI_TIMEOUT``, or 300, if not given.

    Returns
    -------
    World
        Of one process where there is no MPI. Where there is, each rank gets its share of the CPUs as threads,
        unless ``RAMEKIN_NUM_THREADS`` says how many.

    Raises
    ------
    ImportError
        If mpi4py is not installed; the message says how to install it.
    ValueError
        If a time is not a number above 0.
    RankError
        If mpi4py belongs to another MPI than the launcher. Where a rank has another version of Ramekin the
        job ends, with a line that says so.
    """
    limit = _limit(timeout)
    expected = launched_size()
    if mpi is None:
        mpi = is_launched() and expected != 1
    if not mpi:
        return World()
    try:
        from mpi4py import MPI
    except ImportError as error:
        reason = "" if isinstance(error, ModuleNotFoundError) else f" ({error})"
        raise ImportError(f"several processes need mpi4py and an MPI{reason}: {INSTALL}") from None
    if expected is not None and MPI.COMM_WORLD.size != expected:
        raise RankError(
            f"the launcher started {expected} processes, but mpi4py sees {MPI.COMM_WORLD.size}: they "
            f"belong to different MPIs. mpi4py uses {MPI.Get_library_version().splitlines()[0]}"
        )
    world = MpiWorld(MPI, limit)
    if world.size == 1:
        return world
    try:
        hosts = world.all_gather(socket.gethostname())
        watchdog = _watchdog(world, hosts, limit)
        if watchdog is not None:
            world.watch(watchdog)
        _check_versions(world)
        _share_cpus(world, hosts)
    except BaseException as error:
        world.fail(error)
        raise
    return world


def _limit(timeout: float | None) -> float:
    name, value = "timeout", timeout
    if value is None:
        name, text = _TIMEOUT, os.environ.get(_TIMEOUT, "")
        try:
            value = float(text) if text else _DEFAULT_LIMIT
        except ValueError:
            raise ValueError(f"{name} must be a number of seconds above 0, got {text!r}") from None
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"{name} must be a number of seconds above 0, got {value:g}")
    return float(value)


def _watchdog(world: MpiWorld, hosts: Sequence[str], limit: float) -> Watchdog | None:
    """Connect all ranks with rank 0; None, and a notice of it, where the network lets some not through."""
    token = world.broadcast(secrets.token_hex(16))
    peers: dict[int, socket.socket] = {}
    if world.is_first:
        one_host = len(set(hosts)) == 1
        with socket.create_server(("127.0.0.1" if one_host else "", 0), backlog=world.size) as server:
            names = [socket.gethostname(), socket.getfqdn()]
            world.broadcast((names, server.getsockname()[1]))
            peers = _accepted(server, token, world.size)
    else:
        names, port = world.broadcast(([""], 0))
        peers = _dialled(["127.0.0.1"] if hosts[world.rank] == hosts[0] else names, port, token, world.rank)
    missing = [rank for rank, there in enumerate(world.all_gather(bool(peers))) if not there]
    met = world.broadcast(sorted(peers))
    if missing or len(met) != world.size - 1:
        for connection in peers.values():
            connection.close()
        if world.is_first:
            ranks = ", ".join(map(str, missing or sorted({*range(1, world.size)} - {*met})))
            say(
                f"no connection from rank {ranks} to rank 0: a rank that dies will show by its lateness alone"
            )
        return None
    return Watchdog(world.rank, world.size, hosts, peers, limit)


def _accepted(server: socket.socket, token: str, size: int) -> dict[int, socket.socket]:
    """Return the connections by rank of all that came in time and knew the token."""
    peers: dict[int, socket.socket] = {}
    end = time.monotonic() + _CONNECTING
    while len(peers) < size - 1 and (left := end - time.monotonic()) > 0:
        server.settimeout(left)
        try:
            connection, _ = server.accept()
            connection.settimeout(left)
            hello = connection.recv(len(token) + 8, socket.MSG_WAITALL).decode("ascii", "replace")
        except OSError:
            continue
        rank = hello[len(token) :]
        if secrets.compare_digest(hello[: len(token)].encode(), token.encode()) and rank.isdigit():
            peers[int(rank)] = connection
        else:
            connection.close()
    return peers


def _dialled(names: Sequence[str], port: int, token: str, rank: int) -> dict[int, socket.socket]:
    """Return the connection with rank 0, under the first of its names that answers; nothing if none does."""
    for name in names:
        try:
            connection = socket.create_connection((name, port), timeout=_CONNECTING / len(names))
            connection.sendall(f"{token}{rank:08}".encode())
        except OSError:
            continue
        return {0: connection}
    return {}


def _check_versions(world: World) -> None:
    versions = world.all_gather(ramekin.__version__)
    for rank, version in enumerate(versions):
        if version != versions[0]:
            raise RankError(
                f"rank {rank} of {world.size} runs ramekin {version}, and rank 0 {versions[0]}: "
                "bits are alike in one version alone"
            )


def _share_cpus(world: World, hosts: Sequence[str]) -> None:
    """Give this rank as many threads as it has CPUs, divided among the ranks that have the same ones."""
    try:
        cpus = sorted(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        cpus = []
    places = world.all_gather((hosts[world.rank], cpus))
    if not os.environ.get("RAMEKIN_NUM_THREADS"):
        set_num_threads(max(1, get_num_threads() // places.count(places[world.rank])))
