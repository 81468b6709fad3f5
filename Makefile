# `make train` and `make test` need Python alone: each makes the virtual environment it needs.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
WORKDIR ?= runs/digits

.PHONY: train test quick test-cluster test-compilers test-oldest lint docs clean

train: $(VENV)/train.stamp
	$(BIN)/dlresearch train --config=experiments/cnn/digits.py --workdir=$(WORKDIR)

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -m "not cluster and not compiler"

quick: $(VENV)/test.stamp
	$(BIN)/python -m pytest -m "not slow and not cluster and not compiler"

test-cluster: $(VENV)/test.stamp
	$(BIN)/python -m pytest -m cluster

# Steps compiled for a GPU that need not be here.
test-compilers: $(VENV)/test.stamp $(VENV)/compile-gpu.stamp
	$(BIN)/python -m pytest -m compiler --dist load

# All but the cluster tests, with the lowest version of every package that pyproject.toml allows.
test-oldest: $(VENV)-oldest/oldest.stamp
	$(VENV)-oldest/bin/python -m pytest -m "not cluster and not compiler"

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

docs: $(VENV)/docs.stamp
	$(BIN)/mkdocs build --strict

$(VENV)/python.stamp $(VENV)-oldest/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(@D)
	@touch $@

$(VENV)/train.stamp: $(VENV)/python.stamp pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/%.stamp: $(VENV)/train.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(VENV)-oldest/oldest.stamp: $(VENV)-oldest/python.stamp pyproject.toml
	$(PYTHON) tests/oldest.py > $(VENV)-oldest/constraints.txt
	$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint $(VENV)-oldest/constraints.txt --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest
