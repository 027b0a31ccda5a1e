"""Run the targets for a time, and name the seed of what fails."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from collections.abc import Sequence

import numpy as np

from fuzz.arithmetic import ARITHMETIC
from fuzz.parsers import PARSERS

TARGETS = {**PARSERS, **ARITHMETIC}


def run(name: str, seed: int) -> None:
    """Run one case."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        TARGETS[name](np.random.default_rng([seed, *name.encode()]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every target, or one, for its time or for one seed; returns the exit status."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--target", choices=TARGETS, help="only this one")
    parser.add_argument("--seed", type=int, help="only this case of the target")
    parser.add_argument("--start", type=int, help="the first seed (default: the clock)")
    options = parser.parse_args(arguments)
    names = [options.target] if options.target else list(TARGETS)
    if options.seed is not None:
        run(names[0], options.seed)
        return 0
    start = time.time_ns() if options.start is None else options.start
    failed = 0
    for name in names:
        end = time.monotonic() + options.seconds / len(names)
        cases = 0
        while time.monotonic() < end:
            try:
                run(name, start + cases)
            except Exception:
                traceback.print_exc()
                sys.stderr.write(f"again: python -m fuzz --target {name} --seed {start + cases}\n")
                failed += 1
                break
            cases += 1
        sys.stdout.write(f"{name}: {cases} cases\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
