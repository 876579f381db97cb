# Commands of this repository. `make` lists them. Nothing here deletes outside .venv/, dist/ and caches.

# A Python 3.11 or 3.12 for the virtual environments.
PYTHON ?= $(shell for python in python3 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$python && break; done)
BUILD_PY := .venv/build/bin/python
SERVING_PY := .venv/serving/bin/python
# Two files at a time: a test of a server waits more than it works. In the order of names: files of few tests are not the short ones.
PYTEST = $(BUILD_PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

export MASKLET_SERVING_PYTHON := $(CURDIR)/$(SERVING_PY)
.DEFAULT_GOAL := help
.PHONY: help setup setup-build setup-serving demo load golden test run-tests test-all test-quick check format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## make the environments .venv/serving and .venv/build (3 GB)
	@$(or $(PYTHON),python3) build/setup_env.py

setup-build:
	@$(or $(PYTHON),python3) build/setup_env.py build

setup-serving:
	@$(or $(PYTHON),python3) build/setup_env.py serving

demo: setup-serving  ## start Triton, track objects in a clip; no torch, no download of weights; pictures go to dist/demo
	$(SERVING_PY) -m benchmarks.demo --out dist/demo

load: setup-serving setup-build  ## how many live videos a server on this machine carries, and how fast; 20 minutes
	$(BUILD_PY) -m benchmarks.capacity

golden: setup-serving setup-build  ## VARIANT=name GOLDEN=folder [SCENARIO= RUNTIME= PRECISION=]: replay what an official predictor answered through a real server
	$(BUILD_PY) -m tests.golden $(or $(VARIANT),--help) $(if $(GOLDEN),--golden $(GOLDEN)) $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(RUNTIME),--runtime $(RUNTIME)) $(if $(PRECISION),--precision $(PRECISION))

test: setup check run-tests  ## check, then the tests that are not slow; 20 minutes on two CPUs

# In two runs: what the networks of the first leave in its processes is gone when servers take their memory.
run-tests:
	$(PYTEST) -m "not slow and not server"
	$(PYTEST) -m "not slow and server"

test-all: setup check  ## check, then all tests
	$(PYTEST)

test-quick: setup-build  ## the tests that need no torch, server, engines, download or programs that check docker/
	$(PYTEST) -m "not slow and not torch and not server and not engines and not bindings and not programs"

check: setup-build  ## lint, format and types
	$(BUILD_PY) -m ruff check
	$(BUILD_PY) -m ruff format --check
	$(BUILD_PY) -m mypy client/src build/src build/train_nano

format: setup-build  ## rewrite the sources in the house style
	$(BUILD_PY) -m ruff check --fix
	$(BUILD_PY) -m ruff format

clean:  ## remove environments, caches and dist/
	rm -rf .venv dist .hypothesis .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
