# Each target sets itself up in .venv; nothing outside this folder is written.
PYTHON ?= python3
BIN := .venv/bin
RUNS ?= runs

.PHONY: quickstart quickstart-scratch quickstart-long test test-fast lint format bench clean

quickstart: .venv/installed
	$(BIN)/didact lab quickstart --out $(RUNS)/quickstart

quickstart-scratch: .venv/installed
	$(BIN)/didact lab quickstart-scratch --out $(RUNS)/quickstart-scratch

quickstart-long: .venv/installed
	$(BIN)/didact lab quickstart-long --out $(RUNS)/quickstart-long

test: .venv/installed-dev lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist worksteal

lint: .venv/installed-dev
	$(BIN)/ruff check didact tests benchmarks docs
	$(BIN)/ruff format --check didact tests benchmarks docs
	$(BIN)/lint-imports
	$(BIN)/pyright

format: .venv/installed-dev
	$(BIN)/ruff check --fix didact tests benchmarks docs
	$(BIN)/ruff format didact tests benchmarks docs

bench: .venv/installed-dev
	$(BIN)/python -m benchmarks

.venv/bin/pip:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/pip pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,zh,peers]"
	touch $@

clean:
	rm -rf .venv build *.egg-info
