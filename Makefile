# The two commands: `make train` and `make test`. Each makes the virtual environment it needs.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
WORKDIR ?= runs/digits

.PHONY: train test quick lint docs clean

train: $(VENV)/train.stamp
	$(BIN)/dlresearch train --config=experiments/cnn/digits.py --workdir=$(WORKDIR)

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest

quick: $(VENV)/test.stamp
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

docs: $(VENV)/docs.stamp
	$(BIN)/mkdocs build --strict

$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/train.stamp: $(VENV)/python.stamp pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/%.stamp: $(VENV)/train.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

clean:
	rm -rf $(VENV)
