"""The ranks of a job: what they exchange, and the world of one process, which needs no MPI."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np

from ramekin._types import AnyArray

__all__ = ["Pending", "RankError", "World"]

_T = TypeVar("_T")


class RankError(RuntimeError):
    """Ranks have come apart: one did not arrive, or does not do what the others do."""


class Pending(Protocol):
    """An exchange under way."""

    def done(self) -> bool:
        """Move it on, and tell whether it is over. Never waits."""


class World:
    """The processes that do something together, here this one alone.

    :func:`~ramekin.distributed.join` returns the world that the launcher made, which has the same methods.
    All of them but :meth:`exchange` are called by every rank, in the same order. Used as a context manager, a
    world ends the whole job, with a line that names the rank and the cause, if the body raises in any rank.

    Attributes
    ----------
    rank : int
        Of this process, from 0. Rank 0 prints and writes.
    size : int
        How many ranks there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def barrier(self) -> None:
        """Return when all ranks have come here."""
        self.all_gather(None)

    def all_gather(self, value: _T) -> list[_T]:
        """Return the values of all ranks, in their order. A value is anything that can be pickled."""
        return [value]

    def gather(self, value: _T) -> list[_T] | None:
        """Return the values of all ranks in rank 0, and None in the others."""
        return [value]

    def broadcast(self, value: _T) -> _T:
        """Return the value of rank 0."""
        return value

    def all_gather_array(self, array: AnyArray) -> AnyArray:
        """Return the arrays of all ranks, which have one shape and dtype, along a new first axis."""
        return np.ascontiguousarray(array)[np.newaxis]

    def first(self, action: Callable[[], _T]) -> _T:
        """Have rank 0 do something, and return the result, or raise the exception, in every rank."""
        return action()

    def agree(self, what: Mapping[str, Any], name: str = "run") -> None:
        """Check that all ranks have the same description.

        Parameters
        ----------
        what : mapping
            Of what JSON can hold.
        name : str
            What it describes, for the message.

        Raises
        ------
        RankError
            In every rank, if one has another than rank 0: naming the rank and the first difference.
        """
        text = json.dumps(what, sort_keys=True)
        digests = self.all_gather(hashlib.sha256(text.encode()).hexdigest())
        if len(set(digests)) == 1:
            return
        from ramekin.fingerprint import first_difference

        described = self.all_gather(json.loads(text))
        other = next(rank for rank in range(self.size) if digests[rank] != digests[0])
        difference = first_difference(described[other], described[0])
        raise RankError(f"the {name} of rank {other} of {self.size} is not that of rank 0: {difference}")

    def exchange(self, partner: int, give: AnyArray, take: AnyArray, tag: int) -> Pending:
        """Begin to send one array to another rank and to receive one from it.

        Parameters
        ----------
        partner : int
            The other rank, which does the same.
        give, take : ndarray, contiguous
            Not to be touched before it is done.
        tag : int
            Pairs the two calls; not negative, and below 32000.
        """
        raise ValueError(f"there is no rank {partner} in a world of {self.size}")

    def finish(self, pending: list[Pending]) -> None:
        """Wait until all are done, for a limited time; RankError after it."""

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
