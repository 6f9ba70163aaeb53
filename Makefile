# make run    the app on the built-in street: in a window, on a page, or into out/street.mp4
# make test   make lint, then the tests of a newcomer: neither slow ones nor those of ../shared
# make test-all  make lint, then every test, make test-fuzz, and make test-aarch64 where it can run
#
# All set themselves up in .venv from exact versions (constraints/) and ask for nothing but make and
# Python 3.10 to 3.13; what apt has to bring is printed, never installed.

PYTHON ?= python3
VENV ?= .venv
# More words for `edge run` (make run ARGS="--source drive.mp4") and for pip install.
ARGS ?=
PIP_FLAGS ?=

BIN := $(VENV)/bin
PINS := $(wildcard constraints/py*.txt)
# TensorRT for RTX has no wheels for some machines; the app runs, and most tests pass, without it.
RTX := constraints/rtx.txt
# Python 3.10 has a file of its own: the newest wheels for it are older.
CONSTRAINTS = constraints/$$($(BIN)/python -c 'import sys; print("py310" if sys.version_info < (3, 11) else "py311")').txt
INSTALL = $(BIN)/python -m pip install -q --disable-pip-version-check --only-binary=:all: \
	$(PIP_FLAGS) -c $(CONSTRAINTS)

.PHONY: help run test test-all soak test-ci test-aarch64 test-fuzz test-gpu lint hooks \
	fatbin install bundle rollback install-jetson rollback-jetson clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# make /make /p' Makefile
	@echo 'make lint   ruff, mypy and codespell alone'
	@echo 'make soak [MINUTES=10]  the app under all that happens to it on a vehicle, as a table'
	@echo 'make test-fuzz  five minutes of damaged inputs through the commands, as a table'
	@echo 'make test-gpu  the CUDA parts on a real GPU; ARGS=FILE keeps the table of their times'
	@echo 'make test-aarch64  the app on the processor of a vehicle, played by qemu (1 GB in the cache)'
	@echo 'make hooks  the same checks at every git commit'
	@echo 'make fatbin  engines/cuda/letterbox.fatbin anew, by nvcc'
	@echo 'make install   onto this machine, beside the version there; ARGS=--dry-run only tells'
	@echo 'make bundle [PYTHON_VERSION=3.10 MACHINE=aarch64]  one file to install from without internet'
	@echo 'make rollback  the version before is the current one again'
	@echo 'make install-jetson   onto this Jetson, beside the version there; ARGS=--dry-run only tells'
	@echo 'make rollback-jetson  the version before is the current one again'
	@echo 'make clean  remove .venv and caches'

run: $(VENV)/.run
	@$(BIN)/python .ci/system_packages.py run
	@if $(BIN)/python -c 'import sys; from edge.sinks.display import display_answers; sys.exit(not display_answers())'; then \
		echo 'The built-in street in a window: q, Esc or Ctrl-C ends it.'; \
		exec $(BIN)/edge run --sink window $(ARGS); \
	elif [ -t 2 ]; then \
		echo 'No display here: the built-in street on a page, http://127.0.0.1:8090/. Ctrl-C ends it.'; \
		exec $(BIN)/edge run --sink web $(ARGS); \
	else \
		mkdir -p out; \
		echo 'No display or terminal here: 300 frames into out/street.mp4.'; \
		exec $(BIN)/edge run --sink out/street.mp4 --frames 300 $(ARGS); \
	fi

# One that crashes ends the run: with another in its place, files can wait for ever. In the order of
# tests/conftest.py: xdist's own leaves files of few but long tests to the end.
SIDE_BY_SIDE = -n logical --maxprocesses 8 --max-worker-restart 0 --dist loadfile \
	--no-loadscope-reorder
# Tests start hundreds of Pythons; without bytecode each would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

# $(call tests,MARKERS): whole files side by side, then by themselves the tests that judge times.
define tests
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m '$(1) and not timing'
	$(BIN)/python -m pytest -m '$(1) and timing' $$(grep -rl --include='*.py' 'mark\.timing' tests)
endef

test: lint
	$(call tests,not shared and not slow)

test-all: test-ci
	@$(BIN)/python -m tests.fuzz
	@$(BIN)/python -m tests.aarch64 --where-possible

# Damaged inputs through every command that reads them. ARGS="--minutes 60 --kind video"; a case again:
# ARGS="--seed N --kind video --case 17".
test-fuzz: $(VENV)/.test
	@$(BIN)/python -m tests.fuzz $(ARGS)

# Every test of this processor. Those of ../shared wait for services more than they compute, so they
# get one worker more than there are cores.
test-ci: lint
	@echo '== 1 of 2: the tests of a clone alone, ../shared hidden from them =='
	$(call tests,not shared)
	@echo '== 2 of 2: the tests that read ../shared =='
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -n $$(($$(nproc) + 1)) -m shared

# A vehicle's processor, played by qemu: tests/aarch64. ARGS="doctor adopt" runs those steps alone.
test-aarch64: $(VENV)/.test
	@$(BIN)/python -m tests.aarch64 $(ARGS)

soak: $(VENV)/.test
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),10) $(ARGS)

# Needs the CUDA toolkit: PyCUDA has no wheels and is built here once.
test-gpu: $(VENV)/.run
	@$(INSTALL) pytest pytest-timeout setuptools
	@$(INSTALL) -c $(RTX) -e '.[export,rtx,web]' || \
		echo 'Without TensorRT for RTX, which has no wheels here: its tests skip.'
	@$(BIN)/python -m tests.gpu $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/codespell

hooks: $(VENV)/.test
	$(INSTALL) -e '.[dev]'
	$(BIN)/pre-commit install

# Device code for machines without a compiler; to be run and committed after a change of letterbox.cu.
fatbin: $(VENV)/.run
	$(BIN)/python -m engines.cuda.compiler

# With -B, root's Python leaves no __pycache__ in the checkout.
install:
	@$(PYTHON) -B systemd/install.py $(ARGS)

# For a vehicle without internet: make bundle PYTHON_VERSION=3.10 MACHINE=aarch64
bundle: $(VENV)/.run
	@$(BIN)/python systemd/make_bundle.py $(if $(PYTHON_VERSION),--python-version $(PYTHON_VERSION)) \
		$(if $(MACHINE),--machine $(MACHINE)) $(ARGS)

rollback:
	@$(PYTHON) -B systemd/install.py --rollback $(ARGS)

# JetPack's own Python, whatever PYTHON says: its TensorRT is for no other.
install-jetson:
	@/usr/bin/python3 -B systemd/install_jetson.py $(ARGS)

rollback-jetson:
	@/usr/bin/python3 -B systemd/install_jetson.py --rollback $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis outrider.egg-info

# The stamps make a second run instant; a changed pyproject.toml or constraint file installs anew.
$(VENV)/.run: pyproject.toml $(PINS)
	$(call ready,run)
	@echo 'Installing what the app needs into $(VENV) (once, 0.7 GB on disk) …'
	@$(INSTALL) -e '.[web]'
	@touch $@

$(VENV)/.test: pyproject.toml $(PINS) $(RTX)
	$(call ready,test)
	@echo 'Installing what the tests need into $(VENV) (once; torch is the largest part) …'
	@$(INSTALL) -c $(RTX) -e '.[test,rtx]' || { [ -z "$$CI" ] && \
		echo 'Once more without TensorRT for RTX; the tests that build with it will skip.' && \
		$(INSTALL) -e '.[test]'; }
	@touch $(VENV)/.run $@

# $(call ready,GOAL): this machine has what GOAL needs, and the venv is there.
define ready
	@command -v $(PYTHON) >/dev/null || { \
		echo 'No $(PYTHON) here. Install it, then run make $(1) again:'; \
		echo '    sudo apt install -y python3 python3-venv'; exit 1; } >&2
	@$(PYTHON) .ci/system_packages.py $(1)
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
endef
