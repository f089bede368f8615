# Set-up, demo, tests and gates. Everything is installed into .venv by pip, pinned by constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo test test-all bench check reader clean

demo: $(INSTALLED)  ## set up, then offline: audit the sample, fine-tune on it, evaluate, answer three questions
	$(BIN)/spanwise demo

test: $(INSTALLED)  ## the quick tests
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-all: $(INSTALLED)  ## every test
	$(BIN)/python -m pytest

reader: runs/baseline/model.safetensors  ## put models/baseline together in runs/baseline: benchmarks and recipes begin with it

runs/baseline/model.safetensors: $(wildcard models/baseline/*)
	mkdir -p runs/baseline
	cp models/baseline/*.json runs/baseline
	cat models/baseline/model.safetensors.part-* > $@

bench: $(INSTALLED) $(if $(filter-out answer answer_wide start,$(ROW)),,reader benchmarks/peers/.venv/installed)  ## spanwise beside the usual way; ROW= and DATA= choose
	$(BIN)/python -m benchmarks.run $(if $(ROW),--row $(ROW)) $(if $(DATA),--data $(DATA))

benchmarks/peers/.venv/installed: benchmarks/peers/requirements.txt
	benchmarks/peers/make.sh

check: $(INSTALLED)  ## the gates: format, lint, types, layers
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --editable '.[torch,data,report,tensorboard,serve,ray,offline,dev]'
	touch $@

clean:
	rm -rf .venv benchmarks/peers/.venv .mypy_cache .ruff_cache .pytest_cache .hypothesis runs
