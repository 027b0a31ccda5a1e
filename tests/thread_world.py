"""Ranks of a world as threads of one process, so that a test can have many of them in no time."""

from __future__ import annotations

import pickle
import threading
import time
from collections import defaultdict, deque

import numpy as np

from ramekin.distributed.world import World

LIMIT = 60.0


class _Pending:
    def __init__(self, box, take):
        self._box, self._take, self._is_done = box, take, False

    def done(self):
        if not self._is_done and self._box:
            self._take[...] = self._box.popleft()
            self._is_done = True
        return self._is_done


class ThreadWorld(World):
    """One of several ranks, which share a barrier, slots and boxes."""

    def __init__(self, rank, size, barrier, slots, boxes):
        self.rank, self.size = rank, size
        self._barrier, self._slots, self._boxes = barrier, slots, boxes

    def all_gather(self, value):
        self._slots[self.rank] = pickle.dumps(value)
        self._barrier.wait(LIMIT)
        values = [pickle.loads(slot) for slot in self._slots]
        self._barrier.wait(LIMIT)
        return values

    def gather(self, value):
        values = self.all_gather(value)
        return values if self.rank == 0 else None

    def broadcast(self, value):
        return self.all_gather(value if self.rank == 0 else None)[0]

    def all_gather_array(self, array):
        return np.stack(self.all_gather(np.asarray(array)))

    def first(self, action):
        result = error = None
        if self.rank == 0:
            try:
                result = action()
            except Exception as raised:
                error = raised
        result, error = self.broadcast((result, error))
        if error is not None:
            raise error
        return result

    def exchange(self, partner, give, take, tag):
        self._boxes[self.rank, partner, tag].append(give.copy())
        return _Pending(self._boxes[partner, self.rank, tag], take)

    def finish(self, pending):
        end = time.monotonic() + LIMIT
        while not all(one.done() for one in pending):
            assert time.monotonic() < end
            assert not self._barrier.broken
            time.sleep(1e-4)


def run(size, body):
    """Call `body` with each rank's world, and return what each returns; the first error is raised."""
    barrier, slots, boxes = threading.Barrier(size), [b""] * size, defaultdict(deque)
    results, errors = [None] * size, [None] * size

    def one(rank):
        try:
            results[rank] = body(ThreadWorld(rank, size, barrier, slots, boxes))
        except BaseException as error:
            errors[rank] = error
            barrier.abort()

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    raised = [error for error in errors if error is not None]
    if raised:
        own = [
            error for error in raised if not isinstance(error, (threading.BrokenBarrierError, AssertionError))
        ]
        raise (own or raised)[0]
    return results
