# Two commands on a fresh machine: `make demo` and `make test`. Both make the environment VENV, with the newest Python
# that is there; PYTHON chooses another.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3.10 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
		&& { echo $$p; break; }; done)
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet --no-warn-conflicts -c $(CONSTRAINTS)
# what the demo does without, and the pages of docs/ use; EXTRAS= for none
EXTRAS ?= sweep,report,serve

.PHONY: demo test quick docs durations lint constraints schemas fuzz dist clean
.DEFAULT_GOAL := test

# torch first, by itself: the one large package, so that nothing else decides which build is taken. For Linux PyPI's is
# CUDA's, of several GB; TORCH takes pip's options for another, such as the index of builds for CPUs that pytorch.org names
TORCH ?=

# RecBole by itself: from Python 3.12 on, its own metadata asks for a ray that cannot be had
$(VENV)/installed: setup.cfg setup.py pyproject.toml $(CONSTRAINTS)
	@test -n '$(PYTHON)' || { echo 'a Python of 3.10 to 3.14 with venv is needed (on Debian and Ubuntu apt install' \
		'python3-venv); PYTHON=/path/to/python3 chooses one' >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH) torch
	$(PIP) -e .
	$(PIP) --no-deps recbole==1.2.1
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) -e '.[dev]'
	@touch $@

demo: $(VENV)/installed
	$(BIN)/recbole-mind demo --output demo
	@test -z '$(EXTRAS)' || { echo 'Installing what the pages of docs/ use: $(EXTRAS)'; $(PIP) -e '.[$(EXTRAS)]'; }

# without the override of pyproject.toml: pip has none
COMPILE = $(BIN)/uv pip compile --no-config --quiet --python-version 3.10 --no-annotate --no-emit-package recbole-mind \
	--custom-compile-command 'make constraints'
# the newest versions for each Python that setup.cfg and constraints.in allow; of CUDA's, torch itself says which
constraints: $(VENV)/installed-dev
	rm -f constraints.new  # whose versions would be kept
	$(COMPILE) --universal --upgrade -c constraints.in --extra dev -o constraints.new setup.cfg
	grep -vE '^(nvidia-|cuda-|triton)' constraints.new > constraints.txt
	rm constraints.new
	$(COMPILE) --resolution lowest-direct --extra all -o constraints.new setup.cfg
	grep -vE '^(nvidia-|cuda-|triton)' constraints.new > constraints-oldest.txt
	rm constraints.new

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	test ! -e $(BIN)/lint-imports || $(BIN)/lint-imports --no-logo .importlinter

# properties/schema/*.json, with which editors complete our files
schemas: $(VENV)/installed
	$(BIN)/python -m recbole_mind.cli.schemas properties/schema

# a process for each core, at most four; the tests of a file share what they train, and the long files come first
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: lint
	$(PYTEST)

# in under two minutes on two cores: some of every room, without what starts a command, a Ray or a browser, or takes long
quick: $(VENV)/installed-dev
	$(PYTEST) -m 'not (integration or ray or browser or docs or slow)'

# every command and every block of Python of the documentation
docs: $(VENV)/installed-dev
	$(PYTEST) -m docs

# tests/durations.json, by which long files start first and slow tests are known; FILES alone, if they are named
durations: $(VENV)/installed-dev
	$(PYTEST) --record-durations $(FILES)

# crafted and mutated files and malformed requests: FUZZ requests of each kind, FUZZ_FILES files of each, which FUZZ_SEED draws
FUZZ ?= 1000
FUZZ_FILES ?= 150
FUZZ_SEED ?= 1
fuzz: $(VENV)/installed-dev
	RECBOLE_MIND_FUZZ=$(FUZZ) FUZZ_FILES=$(FUZZ_FILES) FUZZ_SEED=$(FUZZ_SEED) OMP_NUM_THREADS=1 timeout 7200 \
		$(BIN)/python -m pytest -n auto --maxprocesses 4 -rP --tb=short --dist worksteal \
		$(shell find tests -name 'test_*fuzz*.py' -o -name 'test_hostile_*.py') tests/serving/http/test_faults.py \
		tests/serving/http/test_shape.py

# the packages of a release, in dist/
dist: $(VENV)/installed-dev
	rm -rf dist
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) demo build dist *.egg-info
