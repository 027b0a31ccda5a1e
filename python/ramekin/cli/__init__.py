"""The command ``ramekin``; :mod:`ramekin.cli.main` is its entry point."""
