# duplex-local. `make` lists what there is to do; `make run` needs nothing else first.
.DEFAULT_GOAL := help
SHELL := /bin/bash

CHECKPOINT ?=
QUANT ?= Q4_K_M
OUT ?= models
ARGS ?=

# The first Python that can make a working environment; PYTHON=... names another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' \
	2>/dev/null && echo $$p && break; done || true)
PY := .venv/bin/python
DEMO := models/demo-Q8_0.gguf

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(DEMO) ## open the page on http://127.0.0.1:7860 (ARGS="--model FILE --port N")
	@$(PY) -m ui $(ARGS) || [ $$? -eq 130 ]

chat: $(DEMO) ## duplex chat in the terminal (ARGS="--model FILE")
	@$(PY) -m duplex_local $(ARGS) || [ $$? -eq 130 ]

convert: .venv/.installed ## download the real model, make GGUF of it (CHECKPOINT=folder or hub id, QUANT=Q4_K_M)
	@$(PY) -m convert $(if $(CHECKPOINT),"$(CHECKPOINT)") --quant $(QUANT) --out "$(OUT)" $(ARGS)

test: .venv/.installed-dev $(DEMO) ## all tests that need no download
	@$(PY) -m pytest $(ARGS)

check: lint types test ## what CI runs

lint: .venv/.installed-dev ## style and format
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .

types: .venv/.installed-dev ## mypy, strict where it matters
	@$(PY) -m mypy

format: .venv/.installed-dev ## put the code into form
	@$(PY) -m ruff format . && $(PY) -m ruff check --fix .

bench: $(DEMO) ## speed, as ratios measured in one run (ARGS="--model FILE")
	@$(PY) -m benchmarks.speed $(ARGS)

eval: $(DEMO) ## behaviour: when it speaks, when it is silent, what it says (ARGS="--model FILE --full")
	@$(PY) -m benchmarks.behaviour benchmarks/scenarios/*.json \
		$(if $(wildcard ../shared/data),--real 300) $(ARGS)

demo-model: .venv/.installed ## train the bundled demo checkpoint again (ARGS=--quick)
	@$(PY) -m pip install --quiet -e '.[train]'
	@$(PY) -m train $(if $(wildcard ../shared/data),--data ../shared/data) $(ARGS)

doctor: ## what is wrong with this machine, and how to mend it
	@$(or $(wildcard $(PY)),$(PYTHON),python3) duplex_local/doctor.py

install: .venv/.installed ## the environment alone

clean: ## remove the environment and everything made here
	rm -rf .venv models/*.gguf models/*.json build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# -- files ---------------------------------------------------------------------------------

.venv/bin/python:
	@$(or $(PYTHON),python3) duplex_local/doctor.py --before-install
	@$(or $(PYTHON),python3) -m venv .venv || { rm -rf .venv; echo "error: $(or $(PYTHON),python3) cannot make a virtual environment; install its venv package (Debian: apt install python3-venv)." >&2; exit 1; }

define pip_install
	@echo "$(1)"
	@n=0; while sleep 60 >/dev/null 2>&1 && kill -0 $$$$ 2>/dev/null; do n=$$((n + 1)); echo "  $$n min"; done & trap "kill $$! 2>/dev/null" EXIT; \
	$(PY) -m pip install --disable-pip-version-check -e '$(2)' > .venv/install.log 2>&1 || \
		{ tail -n 15 .venv/install.log; echo "error: installing failed, the lines above say why (all of it: .venv/install.log). Mend that and run the same command again." >&2; exit 1; }
	@touch $@
endef

.venv/.installed: pyproject.toml | .venv/bin/python
	$(call pip_install,Installing into .venv. The first time this compiles llama.cpp: about 5 minutes.,.)

.venv/.installed-dev: pyproject.toml .venv/.installed
	$(call pip_install,Installing what the tests need.,.[dev])

# .venv/.installed is order-only: a new environment does not make a model out of date.
$(DEMO): models/demo/model.safetensors models/demo/config.json models/demo/tokenizer.model | .venv/.installed
	@echo "Converting the demo model."
	@$(PY) -m convert models/demo --quant Q8_0 --out models --name demo > /dev/null

.PHONY: help run chat convert test check lint types format bench eval demo-model doctor install clean
