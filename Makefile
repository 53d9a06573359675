# Every target works alone on a fresh clone: it installs what it needs into $(VENV) first.
# VENV=path uses another environment; ARGS="key=value …" goes on to the command.
VENV ?= .venv
PYTHON ?= python3
PHOTOS ?=
ARGS ?=
SWEEP ?= $(shell ls -t multirun/*/*/run.json 2>/dev/null | head -1 | cut -d/ -f1-2)

BIN := $(VENV)/bin
READY := $(VENV)/.homoreg-ready
ARMS := none,l2,dropout,hybrid
STUDY ?= study

BASELINES := untrained,raw_patches,sift,rootsift,orb

.PHONY: help demo test lint prepare sweep study eval report judge notebooks dashboard bench clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

demo: $(READY)  ## the whole road in minutes on the embedded photographs
	$(BIN)/python -m homoreg.train -m experiment=demo regularizer=$(ARMS) $(ARGS)
	@set -e; sweep=$$(ls -t multirun/*/*/run.json | head -1 | cut -d/ -f1-2)/; \
	$(BIN)/python -m homoreg.evaluate runs=$$sweep gallery=4; \
	$(BIN)/python -m homoreg.report runs=$$sweep; \
	echo; \
	echo "Four descriptors, judged above beside an untrained network. Look at"; \
	echo "  the page     $${sweep}report/index.html"; \
	echo "  the tables   $${sweep}report/tables/"; \
	echo "  the pictures $${sweep}*/figures/"; \
	echo "  TensorBoard  make dashboard"

test: $(READY)  ## all tests
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

prepare: $(READY)  ## choose photographs and make the pairs
	$(BIN)/python -m homoreg.prepare $(ARGS)

sweep: $(READY)  ## train and judge the four arms
	$(BIN)/python -m homoreg.train -m regularizer=$(ARMS) $(ARGS)

study: $(READY)  ## the four arms at twelve seeds: make study STUDY=name ARGS="size=small"
	$(BIN)/python -m homoreg.train -m experiment=study study=$(STUDY) $(ARGS)
	$(BIN)/python -m homoreg.report runs=multirun/$(STUDY)

eval: $(READY)  ## judge the newest sweep again, beside its controls
	@test -n "$(SWEEP)" || { echo "there is no sweep yet: make sweep"; exit 2; }
	$(BIN)/python -m homoreg.evaluate runs=$(SWEEP) $(ARGS)

report: $(READY)  ## tables, figures and the page of the newest sweep
	@test -n "$(SWEEP)" || { echo "there is no sweep yet: make sweep"; exit 2; }
	$(BIN)/python -m homoreg.report runs=$(SWEEP) $(ARGS)

judge: $(READY)  ## the arms, controls and baselines on a folder: make judge PHOTOS=folder
	@test -n "$(PHOTOS)" || { echo "which photographs? make judge PHOTOS=folder"; exit 2; }
	$(BIN)/python -m homoreg.train -m study=judge regularizer=$(ARMS) data.root=data/judge \
	    source=folder source.root=$(PHOTOS) $(ARGS)
	$(BIN)/python -m homoreg.evaluate runs=multirun/judge descriptors=[$(BASELINES)] reruns=5

notebooks: $(READY)  ## the notebooks with their outputs, as pages in notebooks/rendered/
	$(BIN)/python -m nbconvert --execute --to html --output-dir notebooks/rendered \
	    --HTMLExporter.mathjax_url= --HTMLExporter.require_js_url= notebooks/*.ipynb $(ARGS)

dashboard: $(READY)  ## TensorBoard over the newest sweep, or SWEEP=folder
	@test -n "$(SWEEP)" || { echo "there is no sweep yet: make sweep"; exit 2; }
	$(BIN)/tensorboard --logdir $(SWEEP)

bench: $(READY)  ## how fast it is on this machine: make bench [PHOTOS=folder] [ARGS=--quick]
	$(BIN)/python -m benchmarks $(if $(PHOTOS),--photos "$(PHOTOS)") $(ARGS)

clean:  ## remove what the tools cache; data and results stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
