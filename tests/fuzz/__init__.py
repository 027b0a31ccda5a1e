"""Fuzzing of every parser, and of the arithmetic beside its definitions in rationals.

``make fuzz`` runs every target for some seconds (``FUZZ_SECONDS``); the test suite some cases of each. A
case is made from a seed alone, so what fails can be run again: ``python -m fuzz --target NAME --seed SEED``
in ``tests``.
"""
