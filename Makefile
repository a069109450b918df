# Every target works on a bare checkout: the first one makes $(VENV) and installs `.[test]` in it.
#   make demo PYTHON=python3.12      another interpreter
#   make test VENV=/scratch/venv     another place for the environment
#   make test ARGS="-k registry"     more options for pytest

VENV ?= .venv
PEERS ?= $(VENV)-bench
ARGS ?=
# The first interpreter that TensorFlow has wheels for; looked up only when an install is due.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	  "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	  && echo "$$p" && break; done)

BIN := $(VENV)/bin
STAMP := $(VENV)/.radzoo-installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export TF_CPP_MIN_LOG_LEVEL ?= 3

.DELETE_ON_ERROR:
.PHONY: help demo test test-jax test-all lint bench FORCE

help:
	@echo "make demo      run the main job on embedded phantoms, write runs/demo/report.html"
	@echo "make test      the test suite"
	@echo "make test-jax  the zoo and its explanations on Keras' JAX backend"
	@echo "make test-all  the suite's model checks on every backbone, resumable (hours)"
	@echo "make lint      ruff, mypy, import-linter"
	@echo "make bench     timings, some beside PyTorch (installs it in $(PEERS))"

# An environment belongs to the checkout it was installed from: a copied one is made anew.
ifneq ($(shell cat '$(STAMP)' 2>/dev/null),$(CURDIR))
$(STAMP): FORCE
endif
$(STAMP): setup.cfg pyproject.toml
	@py='$(PYTHON)'; \
	if [ -z "$$py" ]; then \
	  echo "No Python 3.11, 3.12 or 3.13 found: install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
	  exit 1; \
	fi; \
	"$$py" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$py is not a Python of version 3.11 or later: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	if [ ! -x '$(BIN)/python' ] || { [ -f '$@' ] && [ "$$(cat '$@')" != '$(CURDIR)' ]; }; then \
	  "$$py" -m venv --clear '$(VENV)' || { \
	    echo "$$py cannot make an environment (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }; \
	fi; \
	echo "Installing radzoo into $(VENV) (a few minutes the first time)"; \
	'$(BIN)/python' -m pip install --quiet --editable '.[test]'
	@echo '$(CURDIR)' > '$@'

demo: $(STAMP)
	@'$(BIN)/python' -m recipes.demo --out runs/demo

# Two processes, a test file in one of them: TensorFlow alone does not keep two cores busy.
WORKERS ?= 2
test: $(STAMP)
	@'$(BIN)/python' -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-jax: $(STAMP)
	@KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 '$(BIN)/python' -m pytest \
	  tests/zoo/test_backends.py tests/recipes/explaining/test_methods.py $(ARGS)

lint: $(STAMP)
	@'$(BIN)/ruff' check .
	@'$(BIN)/ruff' format --check .
	@'$(BIN)/mypy' zoo recipes data_adapters
	@'$(BIN)/lint-imports'

# One process per backbone, a stamp for each: what was done is not repeated until zoo/ changes.
BACKBONES ?=
DONE := $(VENV)/.backbones
test-all: $(STAMP)
	@'$(BIN)/python' -m pytest -m big --ignore tests/zoo/test_conformance.py \
	  --ignore tests/zoo/test_conformance_3d.py \
	  --ignore tests/recipes/explaining/test_backbones.py $(ARGS)
	@$(MAKE) --no-print-directory --keep-going test-backbones \
	  BACKBONES="$$('$(BIN)/python' -c 'import zoo; print(*zoo.list_backbones())')"

.PHONY: test-backbones
test-backbones: $(BACKBONES:%=$(DONE)/%)
$(DONE)/%: $(STAMP) $(shell find zoo recipes/explaining tests/zoo/test_conformance*.py \
  tests/recipes/explaining/test_backbones.py -name '*.py' 2>/dev/null)
	@mkdir -p '$(@D)'
	@echo "== $*"
	@'$(BIN)/python' -m pytest tests/zoo/test_conformance.py \
	  tests/zoo/test_conformance_3d.py tests/recipes/explaining/test_backbones.py \
	  -m "" -k '[$*-] or [$*]' $(ARGS)
	@touch '$@'

BENCH := runs/bench
PEERS_STAMP := $(PEERS)/.installed
$(PEERS_STAMP): benchmarks/requirements.txt $(STAMP)
	@'$(BIN)/python' -m venv --clear '$(PEERS)'
	@echo "Installing the peers into $(PEERS)"
	@'$(PEERS)/bin/python' -m pip install --quiet -r benchmarks/requirements.txt
	@touch '$@'

bench: $(STAMP) $(PEERS_STAMP)
	@'$(BIN)/python' benchmarks/import_time.py --json $(BENCH)/import_time.json
	@'$(BIN)/python' benchmarks/input_pipeline.py --json $(BENCH)/input_pipeline.json
	@'$(BIN)/python' benchmarks/build_time.py --json $(BENCH)/build_time.json
	@'$(BIN)/python' benchmarks/training_step.py --peer-python '$(PEERS)/bin/python' \
	  --json $(BENCH)/training_step.json
	@'$(BIN)/python' benchmarks/zoo_speed.py --peer-python '$(PEERS)/bin/python' \
	  --json $(BENCH)/zoo_speed.json
