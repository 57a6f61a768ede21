# Three-line helpers; everything they do can be typed by hand. `make help` lists them.
PYTHON ?= python3
RUN = .venv/bin/snakemake --workflow-profile profiles/local
CONFIG ?= config/config.yaml
QUIET = --logger brief
# The code of this folder comes first, also where .venv is a link to that of another checkout.
export PYTHONPATH := $(CURDIR):$(CURDIR)/workflow_scripts/snakemake_plugins$(if $(PYTHONPATH),:$(PYTHONPATH))

.DEFAULT_GOAL := help
.PHONY: help interpreter setup setup-slurm setup-kubernetes setup-cluster-tests setup-bench setup-dev demo books test test-all test-cluster crash-matrix fuzz check docs reference bench coverage mutants plan report doctor lock lock-data figures clean unlock

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 12

interpreter:
	@command -v $(PYTHON) >/dev/null || { echo "setup: there is no $(PYTHON) on PATH; name an interpreter: make PYTHON=python3.12 demo" >&2; exit 2; }

setup: interpreter ## make .venv from the locks (nothing to do when it is current)
	@$(PYTHON) bootstrap.py

setup-slurm: interpreter ## make .venv with the Slurm plugin, and link the profiles where `snakemake --profile slurm` looks
	@$(PYTHON) bootstrap.py --with slurm
	@.venv/bin/python -m workflow_scripts.workflow.tools.link_profiles

setup-kubernetes: interpreter ## make .venv with the plugins of profiles/kubernetes
	@$(PYTHON) bootstrap.py --with kubernetes

setup-cluster-tests: setup-dev ## the Slurm plugin in a folder of its own, for tests/cluster
	@[ -d .slurm-plugins/snakemake_executor_plugin_slurm ] || .venv/bin/python -m pip install --quiet --no-deps \
		--require-hashes --target .slurm-plugins -r envs/slurm.lock

setup-bench: setup-dev ## litgpt, a peer of benchmarks/training.py, in a folder of its own
	@[ -d .bench-peers/litgpt ] || .venv/bin/python -m pip install --quiet --no-deps --require-hashes \
		--target .bench-peers -r envs/bench.lock

setup-dev: interpreter
	@$(PYTHON) bootstrap.py --with dev

demo: setup ## the whole story on the pocket suite: data, training, evaluation, figures, report
	@.venv/bin/python -m workflow_scripts.workflow.tools.unlock --ask
	@.venv/bin/python -m workflow_scripts.workflow.tools.check --config $(CONFIG)
	@$(RUN) --configfile $(CONFIG) $(QUIET)
	@.venv/bin/python -m workflow_scripts.workflow.tools.check --config $(CONFIG) --finished

books: ## the same rules on public-domain books, BLiMP and LAMBADA (needs ../shared)
	@$(MAKE) --no-print-directory demo CONFIG=config/runs/books.yaml

report: setup ## only what the report still lacks
	@$(RUN) report --configfile $(CONFIG) $(QUIET)

figures: setup ## only the figures
	@$(RUN) figures --configfile $(CONFIG) $(QUIET)

plan: setup ## what would be made, and what it would cost, before anything starts
	@.venv/bin/python -m workflow_scripts.workflow.plan --config $(CONFIG)

doctor: interpreter ## what this machine has and lacks
	@$(PYTHON) bootstrap.py && .venv/bin/python -m workflow_scripts.workflow.tools.doctor

test: setup-dev ## the quick tests; what this machine lacks is skipped with its reason
	@.venv/bin/python -m pytest -q -n 2 --ignore tests/cluster -m "not slow"

test-all: setup-dev ## and the slow ones: the pages of docs/ typed literally, kills, fuzzers, compiled kernels
	@.venv/bin/python -m pytest -q -n 2 --ignore tests/cluster

test-cluster: setup-cluster-tests ## the tests on a throw-away Slurm (needs root, slurm-wlm and munge; skipped without)
	@.venv/bin/python -m pytest -q tests/cluster

crash-matrix: setup-dev ## kill a pocket run KILLS times (100) and compare with an undisturbed one; about half an hour
	@.venv/bin/python -m tests.faults.crash_matrix --kills $(or $(KILLS),100) --seed $(or $(SEED),0) --folder crash-matrix

fuzz: setup-dev ## damaged bytes to every reader of foreign files, for MINUTES (10) in all
	@.venv/bin/python -m tests.fuzz.guided --minutes $(or $(MINUTES),10)
	@.venv/bin/python -m pytest -q tests/fuzz --hypothesis-profile random

check: setup-dev ## format, lint, types
	@.venv/bin/ruff format --check --quiet . && .venv/bin/ruff check --quiet .
	@.venv/bin/mypy
	@.venv/bin/snakefmt --check --compact-diff Snakefile rules
	@.venv/bin/snakemake --lint

docs: setup-dev ## the pages as a site that opens from disk: results/site/index.html
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict

reference: setup-dev ## write the generated pages anew: configuration, commands, targets
	@.venv/bin/python -m workflow_scripts.workflow.tools.reference_page --output docs/configuration.md
	@.venv/bin/python -m workflow_scripts.workflow.tools.reliability_page --output docs/reliability.md
	@.venv/bin/python docs/generate_reference.py

bench: setup-dev ## all benchmarks, short, into benchmarks/RESULTS.md (use an idle machine)
	@.venv/bin/python benchmarks/run_all.py --output benchmarks/RESULTS.md

coverage: setup-dev ## branch coverage of all tests, held to its limits per group of stages
	@.venv/bin/python tests/tools/coverage_groups.py

mutants: setup-dev ## small wrong changes to suite, storage and dataset; which of them no test notices (SEED=, COUNT=, RESULTS=file to go on with)
	@.venv/bin/python tests/tools/mutate.py --count $(or $(COUNT),150) --seed $(or $(SEED),1) $(if $(RESULTS),--results $(RESULTS))

lock: setup-dev ## regenerate the locks in envs/ with new versions (KEEP=1: with the present ones)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python envs/compile_locks.py $(if $(KEEP),--keep)

lock-data: setup ## fill the locks of data sets and evaluation data from the Hub (needs a network; fetches the evaluation data)
	@for key in standard deduped; do \
		repository=$$(.venv/bin/python -c "from workflow_scripts.suite.registry import load_suite; print(load_suite('pythia').dataset('$$key').repository)"); \
		.venv/bin/python -m workflow_scripts.storage.make_lock --source hub --kind dataset --repository $$repository \
			--include '*.bin' '*.idx' --output config/suites/locks/pile-$$key.tsv || exit 2; \
	done
	@.venv/bin/python -m workflow_scripts.workflow.tools.lock_tasks

unlock: ## after a run was killed: end its Slurm jobs and release the lock, if nothing of it is alive
	@.venv/bin/python -m workflow_scripts.workflow.tools.unlock

clean: ## remove everything that was made
	rm -rf results .snakemake
