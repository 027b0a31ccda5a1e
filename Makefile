# Everything a person or CI runs. `make help` lists it.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RUST   := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)

.DEFAULT_GOAL := help
.PHONY: help build demo pictures docs test fuzz check format audit sanitize wheel test-wheel clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# Rebuilt when the Rust source or the package's metadata change; Python source is used in place.
$(VENV)/.built: $(RUST) pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

build: $(VENV)/.built ## make .venv and build the package into it

demo: build ## train the same networks in every precision; write demo/report.html
	@mkdir -p demo
	$(BIN)/ramekin compare --task classify autoencode --report demo/report.html --json demo/records.json

pictures: build ## draw docs/images anew
	$(BIN)/python docs/pictures.py

# A reference that leads nowhere is an error. The package is installed already: pip adds what the extra names.
docs: build ## make the documentation, docs/_build/html/index.html
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "ramekin[docs]"
	$(BIN)/python -m sphinx -W --keep-going --nitpicky --fresh-env --write-all --quiet -b html docs docs/_build/html

test: build ## run the tests of the core and of the package
	cargo test --workspace --quiet
	$(BIN)/python -m pytest

FUZZ_SECONDS ?= 120

fuzz: build ## try every parser and the arithmetic with made-up input for FUZZ_SECONDS (120)
	cd tests && $(abspath $(BIN))/python -m fuzz --seconds $(FUZZ_SECONDS)

check: build ## formatters, linters, type checker
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: build ## rewrite the source as the formatters want it
	cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

sanitize: build ## run what is unsafe under checkers of memory, as far as they are installed
	PYTHON=$(BIN)/python .ci/sanitize

audit: build ## judge the dependencies: licences, sources, known vulnerabilities
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/python .ci/audit.py

# zig links against an old C library, so that the wheel runs on Linux systems from 2014 on. maturin looks for it beside
# the first Python on the path.
wheel: build ## make dist: a manylinux2014 wheel for Python 3.10 and later, and an sdist
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "maturin[zig]>=1.9,<2" auditwheel
	rm -rf dist
	PATH="$(abspath $(BIN)):$$PATH" maturin build --release --locked --zig --compatibility manylinux2014 --out dist
	$(BIN)/maturin sdist --out dist
	$(BIN)/auditwheel show dist/*.whl

test-wheel: ## run the tests against dist/*.whl in a fresh environment, away from the source
	$(PYTHON) .ci/test_wheel.py

clean: ## remove what was built
	rm -rf target $(VENV) demo dist docs/_build python/ramekin/*.so
