# Short helpers; everything they do can be typed by hand. `make help` lists them.
PYTHON ?= python3
RUN = .venv/bin/snakemake --workflow-profile profiles/local
CONFIG ?= config/config.yaml
QUIET = --logger brief
# This checkout's code comes first, even if .venv is a link to another checkout's environment.
export PYTHONPATH := $(CURDIR):$(CURDIR)/workflow_scripts/snakemake_plugins$(if $(PYTHONPATH),:$(PYTHONPATH))

.DEFAULT_GOAL := help
.PHONY: help interpreter setup setup-slurm setup-kubernetes setup-cluster-tests setup-hub-tests setup-bench setup-dev demo books test test-all test-cluster drills test-hub crash-matrix fuzz check docs reference bench coverage mutants plan report doctor lock lock-data figures clean unlock

help: ## show this list
	@awk -F':[^#]*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:[^#]*## / {printf "  %-19s %s\n", $$1, $$2}' Makefile

interpreter:
	@command -v $(PYTHON) >/dev/null || { echo "setup: no $(PYTHON) on PATH; name an interpreter: make PYTHON=python3.12 demo" >&2; exit 2; }

##@ Use
demo: setup ## run the whole pipeline on the pocket suite: data, training, evaluation, figures, report
	@.venv/bin/python -m workflow_scripts.workflow.tools.unlock --ask
	@.venv/bin/python -m workflow_scripts.workflow.tools.check --config $(CONFIG)
	@$(RUN) --configfile $(CONFIG) $(QUIET)
	@.venv/bin/python -m workflow_scripts.workflow.tools.check --config $(CONFIG) --finished

books: ## run the same rules on public-domain books, BLiMP and LAMBADA (needs a network)
	@$(MAKE) --no-print-directory demo CONFIG=config/runs/books.yaml

report: setup ## build the report and whatever it still needs
	@$(RUN) report --configfile $(CONFIG) $(QUIET)
	@.venv/bin/python -m workflow_scripts.workflow.tools.check --config $(CONFIG) --finished

figures: setup ## build the figures only
	@$(RUN) figures --configfile $(CONFIG) $(QUIET)
	@.venv/bin/python -m workflow_scripts.workflow.tools.check --config $(CONFIG) --finished figures

plan: setup ## show what a run would build and cost (DEVICES=, PRICE= of an hour of one), and what is left of it
	@.venv/bin/python -m workflow_scripts.workflow.plan --config $(CONFIG) $(if $(DEVICES),--devices $(DEVICES)) \
		$(if $(PRICE),--price $(PRICE))

doctor: interpreter ## report what this machine has and lacks
	@$(PYTHON) bootstrap.py && .venv/bin/python -m workflow_scripts.workflow.tools.doctor

unlock: ## after a killed run: cancel its Slurm jobs and release the lock, unless it is still running
	@.venv/bin/python -m workflow_scripts.workflow.tools.unlock

clean: ## remove everything that was built
	rm -rf results .snakemake

##@ Set up (the targets above do it by themselves)
setup: interpreter ## create .venv from the locks (does nothing if it is up to date)
	@$(PYTHON) bootstrap.py

setup-slurm: interpreter ## create .venv with the Slurm plugin and link the profiles where `snakemake --profile slurm` looks for them
	@$(PYTHON) bootstrap.py --with slurm
	@.venv/bin/python -m workflow_scripts.workflow.tools.link_profiles

setup-kubernetes: interpreter ## create .venv with the plugins that profiles/kubernetes needs
	@$(PYTHON) bootstrap.py --with kubernetes

setup-cluster-tests: setup-dev ## install the Slurm plugin into a separate folder, for tests/cluster
	@[ -d .slurm-plugins/snakemake_executor_plugin_slurm ] || .venv/bin/python -m pip install --quiet --no-deps \
		--require-hashes --target .slurm-plugins -r envs/slurm.lock

setup-hub-tests: setup-dev ## install a Hub that others wrote into a separate folder, for tests/hub
	@[ -d .hub-peer/olah ] || .venv/bin/python -m pip install --quiet --no-deps --require-hashes \
		--target .hub-peer -r envs/hub.lock

setup-bench: setup-dev ## install litgpt, a baseline of benchmarks/training.py, into a separate folder
	@[ -d .bench-peers/litgpt ] || .venv/bin/python -m pip install --quiet --no-deps --require-hashes \
		--target .bench-peers -r envs/bench.lock

setup-dev: interpreter
	@$(PYTHON) bootstrap.py --with dev

##@ Test
test: setup-dev ## run the quick tests; tests that need what this machine lacks are skipped with a reason
	@.venv/bin/python -m pytest -q -n 2 --ignore tests/cluster --ignore tests/hub -m "not slow"

test-all: setup-dev ## run the slow tests too: the commands of docs/, kills, fuzzers, compiled kernels
	@.venv/bin/python -m pytest -q -n 2 --dist loadfile --ignore tests/cluster --ignore tests/hub

test-cluster: setup-cluster-tests ## run the tests on a temporary Slurm (needs root, slurm-wlm and munge; skipped without)
	@.venv/bin/python -m pytest -q tests/cluster -m "not drill"

drills: setup-cluster-tests ## run the long drills on a temporary Slurm: outages of minutes, a thousand jobs, a head at its limit
	@.venv/bin/python -m pytest -q tests/cluster -m drill

test-hub: setup-hub-tests ## run the tests against a Hub that others wrote (needs git-lfs; skipped without)
	@.venv/bin/python -m pytest -q tests/hub

crash-matrix: setup-dev ## kill a pocket run KILLS times (100) and compare with an uninterrupted one; about half an hour
	@.venv/bin/python -m tests.faults.crash_matrix --kills $(or $(KILLS),100) --seed $(or $(SEED),0) --folder crash-matrix

fuzz: setup-dev ## fuzz every parser of external files, for MINUTES (10) in total
	@.venv/bin/python -m tests.fuzz.guided --minutes $(or $(MINUTES),10)
	@.venv/bin/python -m pytest -q tests/fuzz --hypothesis-profile random

check: setup-dev ## check format, lint and types
	@.venv/bin/ruff format --check --quiet . && .venv/bin/ruff check --quiet .
	@.venv/bin/mypy
	@.venv/bin/snakefmt --check --compact-diff Snakefile rules
	@.venv/bin/snakemake --lint

##@ Pages, locks, measurements
docs: setup-dev ## build the documentation site: results/site/index.html
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict

reference: setup-dev ## regenerate the generated pages: configuration, reliability, commands, targets
	@.venv/bin/python -m workflow_scripts.workflow.tools.reference_page --output docs/configuration.md
	@.venv/bin/python -m workflow_scripts.workflow.tools.reliability_page --output docs/reliability.md
	@.venv/bin/python docs/generate_reference.py

bench: setup-dev ## run short versions of all benchmarks into benchmarks/RESULTS.md (use an idle machine)
	@.venv/bin/python benchmarks/run_all.py --output benchmarks/RESULTS.md

coverage: setup-dev ## measure branch coverage and check the limit of each group of stages
	@.venv/bin/python tests/tools/coverage_groups.py

mutants: setup-dev ## mutation testing of suite, storage and dataset (SEED=, COUNT=, RESULTS=file to resume from)
	@.venv/bin/python tests/tools/mutate.py --count $(or $(COUNT),150) --seed $(or $(SEED),1) $(if $(RESULTS),--results $(RESULTS))

lock: setup-dev ## regenerate the locks in envs/ with new versions (KEEP=1: with the current ones)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python envs/compile_locks.py $(if $(KEEP),--keep)

lock-data: setup ## fill the locks of data sets and evaluation data from the Hub (needs a network; fetches the evaluation data)
	@for key in standard deduped; do \
		repository=$$(.venv/bin/python -c "from workflow_scripts.suite.registry import load_suite; print(load_suite('pythia').dataset('$$key').repository)"); \
		.venv/bin/python -m workflow_scripts.storage.make_lock --source hub --kind dataset --repository $$repository \
			--include '*.bin' '*.idx' --output config/suites/locks/pile-$$key.tsv || exit 2; \
	done
	@.venv/bin/python -m workflow_scripts.workflow.tools.lock_tasks
