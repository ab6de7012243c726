# Two commands for everyone: `make demo` runs the whole pipeline on real images, `make test` runs the tests. Both install
# what they need in .venv, from pinned and hashed requirements.
.PHONY: help demo test fuzz test-cluster test-faults check format docs site lock release-check clean
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
SOURCES := src tests scripts benchmarks examples envs docs/conf.py docs/_extensions docs/figures docs/gallery
SNAKEFILES := Snakefile rules

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/installed: requirements.lock requirements-uv.lock pyproject.toml envs/install.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, $(PYTHON) is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 ...")'
	@echo "Environment .venv with $(PYTHON): a few seconds"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python envs/install.py
	@$(BIN)/python -W ignore -c 'import numpy, manifold_capacity as m; m.measure(numpy.eye(12).reshape(3, 4, 12))' # compiles the solver, once
	@touch $@

demo: .venv/installed ## Run config.yaml (handwritten digits, about a minute) and show the result
	@[ -e results/summary/layers.txt ] || echo "Run of config.yaml on handwritten digits: about a minute"
	$(BIN)/snakemake --no-hooks
	@if [ ! -e results/report.html ] || [ -n "$$(find results/figures results/pages results/summary -newer results/report.html)" ]; then \
	  $(BIN)/snakemake --report results/report.html; fi
	@cat results/summary/layers.txt
	@echo
	@cat results/summary/findings.txt
	@echo
	@echo "Figures: results/figures/   Tables: results/summary/   Report: results/report.html"

test: .venv/installed ## Run the unit and workflow tests, two files at a time, the longest ones first
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

fuzz: .venv/installed ## Give every entrance 50,000 damaged files, odd values and arrays in all (half an hour)
	n=$$(cat tests/unit/*/test_fuzz.py | grep -c '^@fuzz'); \
	  MANIFOLD_CAPACITY_FUZZ_EXAMPLES=$$((50000 / n)) $(BIN)/pytest tests/unit/*/test_fuzz.py --numprocesses 2 --timeout 7200

test-cluster: .venv/installed ## Run the tests on a real SLURM, started on this host from Debian's packages
	$(BIN)/pytest tests/cluster -rs --timeout 1800

test-faults: .venv/installed ## Kill and break jobs of every rule, and compare with an undisturbed run (an hour)
	$(BIN)/pytest tests/faults -rs --timeout 7200

check: .venv/installed ## Formatting, lint, types
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/snakefmt --check $(SNAKEFILES)
	$(BIN)/snakemake --lint
	$(BIN)/mypy
	@echo "All checks passed."

format: .venv/installed ## Format the sources
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/snakefmt $(SNAKEFILES)

docs: .venv/installed ## Regenerate docs/config.md from the schema, and the pictures of docs/concepts.md
	$(BIN)/python -m manifold_capacity.config schemas/config.schema.yaml > docs/config.md
	$(BIN)/python -m manifold_capacity.datasets docs/datasets.md
	$(BIN)/python docs/figures/concepts.py docs/images
	$(BIN)/python docs/figures/tables.py docs/outputs.md

site: demo ## Build the documentation as a web site, with its notebooks run: site/index.html
	rm -rf build/site
	$(BIN)/sphinx-build --fail-on-warning --keep-going --nitpicky --fresh-env --quiet --doctree-dir build/doctrees docs build/site
	@rm -rf site && mv build/site site
	$(BIN)/pytest tests/site -rs --quiet
	@echo "Documentation: site/index.html"

LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock: ## Regenerate requirements.lock from pyproject.toml, and requirements-uv.lock
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --upgrade uv
	$(LOCK) --all-extras pyproject.toml -o requirements.lock
	echo uv | $(LOCK) --no-annotate - -o requirements-uv.lock

release-check: .venv/installed ## Build a release and try it in bare environments of each Python, without publishing (half an hour)
	.ci/release-check

clean: ## Delete the environment, all results and the site
	rm -rf .venv results .snakemake build site
