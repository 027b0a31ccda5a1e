"""Many processes, over MPI: ranks that do one thing together and get the same bits as one process.

Nothing here imports mpi4py before :func:`join` does, and it only where it is needed.
"""

from ramekin.distributed.joining import join
from ramekin.distributed.launch import first_in_sight, is_launched
from ramekin.distributed.world import RankError, World

__all__ = ["RankError", "World", "first_in_sight", "is_launched", "join"]
