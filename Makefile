# The two commands: `make run` starts the site, `make test` runs the whole suite. `make check` adds the linters.
# PYTHON names another interpreter, VENV another place for the environment, TESTS what pytest is told.
PYTHON := $(or $(PYTHON),$(shell for name in python3.11 python3.12 python3 python; do $$name -c 'import sys; sys.exit(sys.version_info < (3, 6))' 2>/dev/null && echo $$name && break; done))
VENV ?= .venv
TESTS ?= -n auto --maxprocesses 8
BIN := $(VENV)/bin
BOOTSTRAP = $(PYTHON) -m breedsite.bootstrap $(VENV)

.PHONY: run test check bench chaos format python

run: python
	@$(BOOTSTRAP) requirements.txt -- -m breedsite.up

test: python
	@$(BOOTSTRAP) requirements-dev.txt --chromium
	$(BIN)/python -m pytest $(TESTS)

check: test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python manage.py makemigrations --check --dry-run

# PHOTOS names a folder of real photos; ROUNDS more of them make the medians steadier.
bench: python
	@$(BOOTSTRAP) requirements-dev.txt
	@test -n "$(PHOTOS)" || { echo "Name a folder of real photos: make bench PHOTOS=/path/to/photos" >&2; exit 1; }
	$(BIN)/python -m benchmarks.serve --photos "$(PHOTOS)" --rounds $(or $(ROUNDS),5)
	$(BIN)/python -m benchmarks.batch --photos "$(PHOTOS)" --rounds $(or $(ROUNDS),5)

# All parts in their full size take hours. CHAOS says which parts, and how often; all in about half an hour on two cores:
# CHAOS="--kills 25 --points 1 --freezes 5 --stops 10 --cancels 10 --disk 1".
chaos: python
	@$(BOOTSTRAP) requirements-dev.txt
	$(BIN)/python -m benchmarks.chaos $(CHAOS)

format: python
	@$(BOOTSTRAP) requirements-dev.txt
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

python:
	@test -n "$(PYTHON)" || { echo "breedsite cannot start: Python 3.11 was not found: install it (Debian: apt-get install python3.11 python3.11-venv) or name it: make run PYTHON=/path/to/python3.11" >&2; exit 1; }
