# Every target works on a fresh clone: it first installs what it needs into $(VENV).
# VENV=path selects another environment; ARGS="key=value …" is passed on to the command.
VENV ?= .venv
PYTHON ?= python3
PHOTOS ?=
ARGS ?=
SWEEP ?= $(shell ls -t multirun/*/*/config.yaml 2>/dev/null | head -1 | cut -d/ -f1-2)

BIN := $(VENV)/bin
READY := $(VENV)/.homoreg-ready
ARMS := none,l2,dropout,hybrid
STUDY ?= study

BASELINES := untrained,raw_patches,sift,rootsift,orb

.PHONY: help demo test test-slow test-all lint prepare sweep study eval report compare notebooks dashboard bench docs torture clean
.DEFAULT_GOAL := help

help:  ## list all targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

demo: $(READY)  ## the whole pipeline in minutes on the embedded photographs
	$(BIN)/python -m homoreg.train -m experiment=demo recipe=cosine,strong regularizer=$(ARMS) \
	    hydra/launcher=joblib hydra.launcher.n_jobs=2 trainer.enable_progress_bar=false $(ARGS)
	@set -e; sweep=$$(ls -t multirun/*/*/config.yaml | head -1 | cut -d/ -f1-2)/; \
	runs=$$(printf '%s,' $$sweep*recipe-strong* $$sweep*recipe-cosine*); \
	$(BIN)/python -m homoreg.evaluate runs=[$${runs%,}] gallery=4 patch_pairs=0 descriptors=[untrained,rootsift]; \
	$(BIN)/python -m homoreg.report runs=$$sweep; \
	echo; \
	echo "The tables above compare eight trained networks, an untrained one and RootSIFT at SIFT's keypoints."; \
	echo "cnn: recipe=cosine, the study's; spatial: recipe=strong. See also:"; \
	echo "  report       $${sweep}report/index.html"; \
	echo "  tables       $${sweep}report/tables/"; \
	echo "  figures      $${sweep}*/figures/"; \
	echo "  TensorBoard  make dashboard"

PYTEST = $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: $(READY)  ## run the fast tests
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: $(READY)  ## run the tests that take more than a few seconds each
	$(PYTEST) -m slow $(ARGS)

test-all: $(READY)  ## run all tests
	$(PYTEST) $(ARGS)

lint: $(READY)  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

prepare: $(READY)  ## select photographs and make pairs
	$(BIN)/python -m homoreg.prepare $(ARGS)

sweep: $(READY)  ## train and evaluate the four regularizers
	$(BIN)/python -m homoreg.train -m regularizer=$(ARMS) $(ARGS)

study: $(READY)  ## every arm of the study at sixteen seeds: make study STUDY=name ARGS="size=small"
	$(BIN)/python -m homoreg.train -m experiment=study study=$(STUDY) $(ARGS)
	$(BIN)/python -m homoreg.report runs=multirun/$(STUDY)

eval: $(READY)  ## evaluate the newest sweep, or SWEEP=folder, again
	@test -n "$(SWEEP)" || { echo "there is no sweep yet; run: make sweep"; exit 2; }
	$(BIN)/python -m homoreg.evaluate runs=$(SWEEP) $(ARGS)

report: $(READY)  ## write the report of the newest sweep, or SWEEP=folder
	@test -n "$(SWEEP)" || { echo "there is no sweep yet; run: make sweep"; exit 2; }
	$(BIN)/python -m homoreg.report runs=$(SWEEP) $(ARGS)

compare: $(READY)  ## train on a folder and evaluate beside baselines: make compare PHOTOS=folder
	@test -n "$(PHOTOS)" || { echo "name a folder of photographs: make compare PHOTOS=folder"; exit 2; }
	$(BIN)/python -m homoreg.train -m study=compare regularizer=$(ARMS) data.root=data/compare \
	    source=folder source.root=$(PHOTOS) $(ARGS)
	$(BIN)/python -m homoreg.evaluate runs=multirun/compare descriptors=[$(BASELINES)] reruns=5

notebooks: $(READY)  ## run the notebooks and render them to notebooks/rendered/
	$(BIN)/python -m nbconvert --execute --to html --output-dir notebooks/rendered \
	    --HTMLExporter.mathjax_url= --HTMLExporter.require_js_url= notebooks/*.ipynb $(ARGS)

dashboard: $(READY)  ## TensorBoard of the newest sweep, or SWEEP=folder
	@test -n "$(SWEEP)" || { echo "there is no sweep yet; run: make sweep"; exit 2; }
	$(BIN)/tensorboard --logdir $(SWEEP)

bench: $(READY)  ## measure speed on this machine: make bench [PHOTOS=folder] [ARGS=--quick]
	$(BIN)/python -m benchmarks $(if $(PHOTOS),--photos "$(PHOTOS)") $(ARGS)

torture: $(READY)  ## kills, full disks, damaged files, in minutes: make torture [ARGS=--full]
	$(BIN)/python -m tests.torture $(ARGS)

docs: $(READY)  ## build the documentation as a site in docs/_build/html; broken links are errors
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html $(ARGS)
	@echo "docs/_build/html/index.html"

clean:  ## remove caches; keep data and results
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist docs/_build
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
