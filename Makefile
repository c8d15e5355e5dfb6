# Each target sets itself up: a Python >= 3.11 is all it needs. ARGS="…" is handed to the command behind a target.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test torture check format bench simulate coverage-of-mission
MAKEFLAGS += --no-print-directory
export PYTHON

# Tools keep their caches under HOME; where there is no such place, they get one beside the virtual environment.
ifneq ($(shell [ -n "$$HOME" ] && [ -d "$$HOME" ] && [ -w "$$HOME" ] && echo yes),yes)
export HOME := $(CURDIR)/.venv/home
endif

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: ## Kill an image pipeline half-way and watch it finish (IMAGES=dir for your own JPEG files)
	@scripts/setup cli,demo
	@.venv/bin/perdure demo --keep demo-out $(if $(IMAGES),--images "$(IMAGES)") $(ARGS)

test: ## Run all tests (ARGS="-k name" for some)
	@scripts/setup dev
	@scripts/postgres
	@.venv/bin/python -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

torture: ## Kill nodes and crash PostgreSQL under a bank, then audit it (SECONDS=90 SEED=number ARGS="--workers amqp")
	@scripts/setup dev
	@.venv/bin/python -m tests.torture --seconds $(or $(SECONDS),90) $(if $(SEED),--seed $(SEED)) $(ARGS)

check: ## Format, lint, types, floors, sizes: what every change must pass
	@scripts/setup dev
	@scripts/check

format: ## Lay out the code and repair what the linter can
	@scripts/setup dev
	@.venv/bin/python -m ruff check --quiet --fix --exit-zero .
	@.venv/bin/python -m ruff format --quiet .

simulate: ## Simulate nodes, clients and faults from seeds (SEED=n for one world, ARGS="--first 0 --count 1000")
	@scripts/setup dev
	@.venv/bin/python -m perdure.testing.simulation $(if $(SEED),--seed $(SEED)) $(ARGS)

bench: ## Measure memory, SQLite and PostgreSQL on this machine, beside their raw ceilings and other engines
	@scripts/setup cli,fast,postgres
	@.venv/bin/perdure bench $(ARGS)

coverage-of-mission: ## List the rows of the mission that no test names (MISSION=file)
	@python=$$(scripts/setup --python) && "$$python" scripts/coverage_of_mission.py
