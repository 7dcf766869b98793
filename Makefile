# Two commands do all the set-up: make demo, make test. Needs python3 (3.11 to 3.13) with venv.

PYTHON ?= python3
BIN := .venv/bin
CORES ?= $(shell nproc 2>/dev/null || echo 2)
STAMP := .venv/.locked
# a test that hangs ends its process (pyproject.toml): another one would only begin it again
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadgroup --no-loadscope-reorder --max-worker-restart 0

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps

.DEFAULT_GOAL := help
.PHONY: help demo plan doctor bundle test slow lint format docs bench lock envs clean clean-results

help:  ## these targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1	/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

# --no-deps: the lock is complete, and pip would look for newer releases of `package[extra]`, which have no hash.
# The project itself is installed as it lies here: edits count at once.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-build-isolation --editable .
	touch $@

# jobs that take seconds go two at a time, as most of those are the start of TensorFlow and the like; were there
# a GPU, neither may take all its memory
demo: $(STAMP)  ## the whole pipeline on the phantom; ends with results/phantom/report/index.html
	TF_FORCE_GPU_ALLOW_GROWTH=true $(BIN)/snakemake --cores $(CORES) --resources gpu=2 --set-threads infer=1 legacy=1 evaluate=1 --configfile config/demo.yaml
	@echo "Open results/phantom/report/index.html in a browser."

plan: $(STAMP)  ## what a run with config/config.yaml would do, why, and for how long
	$(BIN)/mbhseg plan --cores $(CORES)

doctor:  ## what is wrong with this machine; needs nothing installed
	@$(if $(wildcard $(STAMP)),$(BIN)/python,$(PYTHON)) -m mbhseg doctor

bundle: $(STAMP)  ## code, data and wheels for a machine without a network, in bundle/
	$(BIN)/python tools/bundle.py bundle

test: $(STAMP)  ## the tests, with coverage
	$(PYTEST) -m "not slow" --cov --cov-report=term:skip-covered --cov-fail-under=85

slow: $(STAMP)  ## the tests that take minutes
	$(PYTEST) -m slow --durations=20

lint: $(STAMP)  ## what CI demands of the form
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint --configfile config/demo.yaml
	$(BIN)/snakemake --lint
	$(BIN)/mypy

format: $(STAMP)  ## fix what a formatter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

# README.md links into docs/ and config/, so the site's source is all of them as they lie here.
# Not --quiet: it hides warnings from --strict as well, and a broken link would pass
docs: $(STAMP)  ## the documentation as pages, in site/html/; a broken link fails
	rm -rf site && mkdir -p site/source
	cp -R README.md CHANGELOG.md CONTRIBUTING.md CITATION.cff LICENSE config docs site/source
	$(BIN)/mkdocs build --strict

bench: $(STAMP)  ## every benchmark, short; each prints "<name> ratio <number>" last
	for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file --quick || exit 1; done

lock:  ## renew requirements.lock from pyproject.toml (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --all-extras pyproject.toml -o requirements.lock

envs: $(STAMP)  ## renew the pins of envs/*.yaml from the installed lock
	$(BIN)/python tools/pin_envs.py

clean:  ## remove caches and the built documentation; keeps results, models and the environment
	rm -rf site .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage .coverage.* htmlcov
	find benchmarks mbhseg tests tools workflow_scripts -name __pycache__ -type d -prune -exec rm -rf {} +

clean-results:  ## remove results/, every model among them, and .snakemake/
	rm -rf results .snakemake
