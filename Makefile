# Every target does all of its own set-up: on a fresh machine `make demo` is enough.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

VENV_PYTHON := .venv/bin/python
DONE := .venv/setup# stamps: empty when all is well, else the line to say at every make
EXTRAS ?= preprocess compose horovod profile live ports mlflow notebooks docs dev $(if $(shell command -v nvidia-smi),gpu)
# Without FluidSynth the demo has no sound, as the set-up said.
NO_WAV = $(if $(shell hpc/install/packages.sh sound && echo yes),,--no-wav)
# In their own keys: what minutes suffice to learn. For hours, leave --max-transpose out.
DEMO_TRAIN ?= --preset small --global-batch-size 32 --steps 900 --eval-every 100 --max-transpose 0

help: ## This list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(DONE)/packages-train $(DONE)/environment $(DONE)/horovod ## System packages, .venv, Horovod; the second time nothing
	@cat $(DONE)/horovod 2>/dev/null || true
	@[ -z "$(filter setup,$(MAKECMDGOALS))" ] || printf '%s\n' \
	    "Ready. Next: make demo (from scores to music, in minutes), or at once, with the model that comes along:" \
	    "  $(VENV_PYTHON) model/generate.py model/pretrained/chorales --guidance 1.7 --bars 16 $(NO_WAV)"

$(DONE)/packages-train: hpc/install/packages.sh hpc/install/python.sh
	@hpc/install/packages.sh train

$(DONE)/packages-test: hpc/install/packages.sh
	@hpc/install/packages.sh test

$(DONE)/environment: setup.cfg pyproject.toml constraints.txt hpc/install/environment.sh hpc/install/python.sh | $(DONE)/packages-train
	@hpc/install/environment.sh $(EXTRAS)

$(DONE)/horovod: $(DONE)/environment hpc/install/horovod.sh hpc/install/horovod_patches.py hpc/install/two_processes.sh hpc/install/allreduce.py
	@hpc/install/horovod.sh

horovod: ## Build Horovod again, after its build failed or the MPI changed
	@rm -f $(DONE)/horovod
	@$(MAKE) --no-print-directory setup

demo: setup ## From Bach's chorales to new music in at most 10 minutes
	$(VENV_PYTHON) pipeline/preprocess.py bach --out data/bach
	hpc/install/two_processes.sh $(VENV_PYTHON) hpc/train.py --data data/bach --run runs/demo $(DEMO_TRAIN)
	$(VENV_PYTHON) model/generate.py runs/demo --data data/bach --out out/demo --seed 1 --top-p 0.95 --bars 16 $(NO_WAV)
	@echo "Beside it, the model that comes with the program, which learned for longer:"
	$(VENV_PYTHON) model/generate.py model/pretrained/chorales --out out/demo/pretrained --seed 1 --guidance 1.7 --bars 16 $(NO_WAV)
	@echo "The training run (.venv/bin/tensorboard --logdir runs) and the music:"
	@find "$(CURDIR)/runs/demo" -maxdepth 0; find "$(CURDIR)/out/demo" -name '*.mid' -o -name '*.wav' -o -name '*.png' | sort

# Where the data set lies: Jsb16thSeparated.json of github.com/czhuang/JSB-Chorales-dataset.
JSB ?= Jsb16thSeparated.json
quality: setup ## Train the chorale model that is shipped, and its likelihood; JSB=FILE names the data
	$(VENV_PYTHON) pipeline/preprocess.py jsb:$(JSB) --vocabulary grid --num-lanes 4 --out data/jsb16
	hpc/install/two_processes.sh $(VENV_PYTHON) hpc/train.py --config hpc/presets/chorales.toml --run runs/chorales
	$(VENV_PYTHON) model/evaluate.py runs/chorales --data jsb:$(JSB) --split valid

test: setup $(DONE)/packages-test ## Every test that this machine can run; what is skipped says why
	$(VENV_PYTHON) -m pytest -m "not soak"

coverage: setup ## How many lines plain pytest reaches; at least 85 %
	$(VENV_PYTHON) -m pytest -q --cov --cov-report=term:skip-covered

soak: setup $(DONE)/packages-test ## Kills and lost hosts at random times, under every strategy: more than half an hour
	$(VENV_PYTHON) -m pytest -m soak

# Hosts of your own: make notebooks CHORALE_HOSTS=dorchester,bath
notebooks: export CHORALE_HOSTS ?= localhost:2
notebooks: setup ## Execute notebooks/ into build/notebooks, for make docs: half an hour; CHORALE_QUICK=1 a few minutes
	@mkdir -p build/notebooks
	$(VENV_PYTHON) -m jupyter execute $(wildcard notebooks/*.ipynb) --output='../build/notebooks/{notebook_name}'

SYSTEM ?= bookworm
fresh: ## README's commands on a bare SYSTEM=bookworm, trixie or noble: a table; root, debootstrap, hours
	nice -n 10 tests/fresh/fresh.sh $(SYSTEM)

docs: $(DONE)/environment ## README, docs/, notebooks/ and the results as a site in build/docs; a broken link is an error
	$(VENV_PYTHON) -m sphinx -q -W --keep-going -c docs -d build/doctrees . build/docs
	@echo "$(CURDIR)/build/docs/docs/index.html"

lint: setup ## ruff check, ruff format --check, mypy, shellcheck
	@failed=0; check() { echo "$$@"; "$$@" || failed=1; }; \
	check $(VENV_PYTHON) -m ruff check .; \
	check $(VENV_PYTHON) -m ruff format --check .; \
	check $(VENV_PYTHON) -m mypy; \
	check .venv/bin/shellcheck -x -S warning $(wildcard hpc/install/*.sh slurm/*.sh tests/testbed/*.sh tests/fresh/*.sh findings/*.sh examples/*.sh) .ci/run; \
	exit $$failed

constraints: $(DONE)/environment ## Newest versions that fit setup.cfg, written to constraints.txt
	@$(VENV_PYTHON) -m pip install --quiet uv
	$(VENV_PYTHON) -m uv pip compile --quiet --universal --upgrade --python-version 3.11 --all-extras \
	    --no-annotate --custom-compile-command "make constraints" setup.cfg -o constraints.txt

clean: ## Remove what make made here; data/, runs/ and out/ stay
	rm -rf .venv .cache build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup horovod demo quality test coverage notebooks fresh docs soak lint constraints clean
