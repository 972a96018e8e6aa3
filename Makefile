# Needs Python 3.11 with venv, nothing else. `make demo` and `make test` set everything up themselves.

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$p && break; done)
# The stamp carries the hash of what was installed: a changed lock installs again, an unchanged one does nothing.
STAMP := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml | sha256sum | cut -c1-16)
CHECKED := speechkit tests $(wildcard recipes app.py)

DEMO_VOICE ?= heart
DEMO_TEXT ?= The quick brown fox jumped over the lazy dog, and nobody on the pier had noticed.
DEMO_OUT ?= demo.wav

PLATFORMS := x86_64-manylinux_2_28 aarch64-apple-darwin x86_64-pc-windows-msvc
PYTHONS := 3.10 3.11 3.12 3.13
EXTRAS := demo server onnx train data hub lm eval ssl

.PHONY: help demo test test-all test-browser chromium docs lint format lock platforms venv clean
.DEFAULT_GOAL := help

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP) ## set up, then speak a sentence in the voice of a bundled prompt: demo.wav
	$(BIN)/speechkit say "$(DEMO_TEXT)" --voice "$(DEMO_VOICE)" -o "$(DEMO_OUT)"

test: lint ## set up, then lint, types and all tests but the slow ones
	$(BIN)/python -m pytest -q -m "not slow"

test-all: lint ## the same with the slow tests
	$(BIN)/python -m pytest -q

chromium: ## install the Chromium of the system, where it is missing and root has apt-get
	@command -v chromium >/dev/null || { \
		[ "$$(id -u)" = 0 ] || { echo "Chromium is missing, and only root can install it" >&2; exit 1; }; \
		command -v apt-get >/dev/null || { echo "Chromium is missing, and there is no apt-get" >&2; exit 1; }; \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null \
			|| { echo "Chromium is missing, and apt-get cannot install it here" >&2; exit 1; }; }

test-browser: $(STAMP) ## set up, then the demo's tests in Chromium, installed if root, else skipped with a reason
	-@$(MAKE) --no-print-directory chromium
	@$(BIN)/python -c 'import playwright' 2>/dev/null || $(BIN)/uv pip install --python $(BIN)/python 'playwright==1.*' \
		|| $(BIN)/python -m pip install --quiet 'playwright==1.*'
	$(BIN)/python -m pytest -q tests/e2e

docs: $(STAMP) ## set up, then build the documentation into build/docs, every warning an error
	@$(BIN)/python -c 'import mkdocs, material, mkdocstrings, mkdocs_jupyter' 2>/dev/null \
		|| $(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[docs]'
	$(BIN)/python -m mkdocs build --strict

lint: $(STAMP) ## ruff and mypy --strict over package, recipes and tests
	$(BIN)/ruff check $(CHECKED) docs
	$(BIN)/mypy --strict $(CHECKED)

format: $(STAMP) ## let ruff fix what it can
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

venv: $(STAMP) ## the environment alone, in .venv

lock: $(STAMP) ## resolve the dependencies again into requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header \
		--python-platform x86_64-manylinux_2_28 --python-version 3.11 \
		--extra dev pyproject.toml -o requirements.lock

platforms: $(STAMP) ## ask the resolver where the core and each extra install from wheels alone
	@for wanted in "" $(EXTRAS); do for platform in $(PLATFORMS); do for python in $(PYTHONS); do \
		$(BIN)/uv pip compile --quiet --only-binary :all: --python-version $$python \
			--python-platform $$platform $${wanted:+--extra $$wanted} pyproject.toml \
			-o build/resolved.txt 2>/dev/null && found=yes || found=no; \
		echo "$${wanted:-core} $$platform $$python $$found"; \
	done; done; done

$(STAMP):
	@test -n "$(PYTHON)" || { echo "speechkit needs Python 3.11 with venv: install it, or say make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv || echo "uv cannot be had here"
	if [ -x $(BIN)/uv ] && $(BIN)/uv pip install --python $(BIN)/python --require-hashes -r requirements.lock; then \
		$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
		echo "going on with pip, which takes some minutes"; \
		$(BIN)/python -m pip install --require-hashes -r requirements.lock \
		&& $(BIN)/python -m pip install --no-deps --no-build-isolation -e . ; \
	fi
	@rm -f $(VENV)/.installed-* && touch $@

clean: ## remove the environment, caches and the demo's output
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist $(DEMO_OUT)
