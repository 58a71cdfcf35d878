# Everything a developer types. "make help" lists it.
# All tools live in .venv and are called by path, so nothing has to be activated, and an activated environment does no harm:
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The stamp says "the environment is complete". It is written last and removed first, so that an interrupted set-up leaves none.
STAMP := $(VENV)/.complete
LOCKS := requirements/uv.txt requirements/dev.txt

# An environment is made anew when the checkout was moved (scripts in it hold absolute paths), and when the user names
# another Python. Who names none keeps the one that is there.
MADE_FOR := $(shell cat $(VENV)/.made-for 2>/dev/null)
NAMED := $(if $(filter file default,$(origin PYTHON)),,$(PYTHON) in $(CURDIR))
ifneq ($(MADE_FOR),$(or $(NAMED),$(firstword $(MADE_FOR)) in $(CURDIR)))
$(STAMP): discard
endif

.PHONY: all setup system discard demo test bench check generate pictures lock clean help
all: setup

setup: $(STAMP) ## set up .venv with everything (the default)

discard:
	@rm -f $(STAMP)

$(STAMP): pyproject.toml $(LOCKS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is not. Debian: apt-get install python3 python3-venv." >&2; \
	  echo "Another one is named so: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments. Debian: apt-get install python3-venv." >&2; exit 1; }
	@# No stamp means nobody knows what is in there: begin anew. With one, only the difference is installed.
	@if [ -e $@ ]; then echo "updating $(VENV)"; else \
	  echo "setting up $(VENV) (once)"; $(PYTHON) -m venv --clear $(VENV); fi
	@rm -f $@
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@echo "$(PYTHON) in $$(pwd -P)" >$(VENV)/.made-for
	@touch $@

# What only tests need. SoftHSM2, tshark, the PDF readers and a C compiler are then there: a test that finds none fails
# and is not skipped.
system:
	@tools/setup-system

demo: $(STAMP) ## print, verify and deliver specimens; leaves them in demo-out/
	$(BIN)/pes-sim demo --out demo-out

test: export PES_SIM_REQUIRE_SOFTHSM := 1
test: export PES_SIM_REQUIRE_TSHARK := 1
test: export PES_SIM_REQUIRE_PDF_READERS := 1
test: export PES_SIM_REQUIRE_CC := 1
test: system $(STAMP) ## all tests, then the coverage that must be complete
	$(BIN)/pytest --cov --cov-report=term
	@# What holds the money and what is printed: every branch.
	$(BIN)/coverage report --include='pes_sim/psd/*,pes_sim/indicium/*,pes_sim/money.py' --fail-under=100

bench: $(STAMP) ## how fast it is, beside the machine's own limits
	$(BIN)/python -m tools.bench

check: $(STAMP) ## lint, format, types, import rules, stale generated files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.generate --check

generate: $(STAMP) ## write the generated files again from their tables
	$(BIN)/python -m tools.generate

pictures: $(STAMP) ## draw the pictures of docs/images again
	$(BIN)/python -m tools.pictures

# Keeps what is locked where pyproject.toml allows it; newer versions: make lock LOCK_FLAGS=--upgrade
# One lock serves every platform and every Python we promise. It names no registry: that is the user's own setting.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --custom-compile-command 'make lock' $(LOCK_FLAGS)
lock: $(STAMP) ## resolve the dependencies again and write requirements/*.txt
	echo uv | $(COMPILE) - -o requirements/uv.txt
	$(COMPILE) pyproject.toml -o requirements/run.txt
	$(COMPILE) pyproject.toml --all-extras --group dev -c requirements/run.txt -o requirements/dev.txt

clean: ## remove everything that can be made again
	rm -rf $(VENV) build dist demo-out .coverage .coverage.* htmlcov
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find pes_sim tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/\1|\2/p' Makefile | while IFS='|' read -r name what; do printf '%-10s %s\n' "$$name" "$$what"; done
