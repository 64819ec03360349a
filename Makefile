# Everything starts here: each target sets up what it needs. Only Python 3.11+ and Java 17+ are assumed.
PYTHON ?= python3
VENV := .venv
WAREHOUSE ?= data
WORKERS ?= 2
READY := $(VENV)/.ready
READY_AIRFLOW := $(VENV)/.ready-airflow
READY_TEST := $(VENV)/.ready-test
INSTALL := $(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes
AIRFLOW_HOME ?= $(CURDIR)/.airflow
AIRFLOW_PORT ?= 8080

# Tests start hundreds of Pythons; each would compile our code anew where a machine is told to keep nothing.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run check test test-all lint coverage serve airflow accuracy docs lock audit fuzz damage sbom clean compose-check screenshots

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

run: $(READY) ## build and promote a release: of the built-in sample, or ARGS='--source movielens --path ml-latest-small.zip'
	$(VENV)/bin/cinematch run --warehouse $(WAREHOUSE) $(ARGS)

serve: $(READY) ## serve the promoted release on http://127.0.0.1:8001
	$(VENV)/bin/cinematch serve --warehouse $(WAREHOUSE)

# Pages and API listen on this machine alone (the log servers cannot be told to); Airflow's own variables win over these.
airflow: export AIRFLOW_HOME := $(AIRFLOW_HOME)
airflow: export CINEMATCH_WAREHOUSE := $(abspath $(WAREHOUSE))
airflow: export AIRFLOW__CORE__DAGS_FOLDER ?= $(CURDIR)/dags
airflow: export AIRFLOW__CORE__LOAD_EXAMPLES ?= False
airflow: export AIRFLOW__CORE__EXECUTION_API_SERVER_URL ?= http://127.0.0.1:$(AIRFLOW_PORT)/execution/
airflow: export AIRFLOW__API__HOST ?= 127.0.0.1
airflow: export AIRFLOW__API__PORT ?= $(AIRFLOW_PORT)
airflow: export AIRFLOW__API__BASE_URL ?= http://127.0.0.1:$(AIRFLOW_PORT)
airflow: export AIRFLOW__API__WORKERS ?= 1
airflow: export AIRFLOW__CORE__PARALLELISM ?= 4
airflow: $(READY_AIRFLOW) ## start Airflow with the DAGs; prints where, and how to log in
	@export PATH="$(CURDIR)/$(VENV)/bin:$$PATH"; mkdir -p $(AIRFLOW_HOME) && cd $(AIRFLOW_HOME) && passwords=simple_auth_manager_passwords.json.generated && \
	{ [ -s $$passwords ] || (umask 077; python -c 'import json, secrets; print(json.dumps({"admin": secrets.token_urlsafe(12)}))' > $$passwords); } && \
	airflow db migrate > db.log 2>&1 && airflow pools set training 2 "models that are trained at once" >> db.log 2>&1 || { cat db.log >&2; exit 1; }; \
	echo "Airflow: http://127.0.0.1:$(AIRFLOW_PORT)/dags/weekly_release  user admin  password $$(sed 's/.*: "\(.*\)".*/\1/' $$passwords)"; \
	exec airflow standalone

check: $(READY_TEST) ## run the tests that start no process
	$(VENV)/bin/pytest -m check -n auto

test: $(READY_TEST) ## run the tests that need no Airflow, no cluster and no release of their own, in two processes: WORKERS=2
	$(VENV)/bin/pytest -m 'not system' -n $(WORKERS) --dist loadfile

test-all: $(READY_TEST) ## run every test
	$(VENV)/bin/pytest

lint: $(READY_TEST) ## look for mistakes, dead imports, format and wrong types
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

coverage: $(READY_TEST) ## say which branches the tests of `make check` leave out
	$(VENV)/bin/pytest -m check -n auto --cov --cov-report=term:skip-covered

accuracy: $(READY) ## measure the tables of accuracy in jobs/bench/README.md again; MOVIELENS=... RETAIL=... name the data sets
	$(VENV)/bin/python -m jobs.bench.accuracy.readme $(if $(MOVIELENS),--movielens $(MOVIELENS)) $(if $(RETAIL),--retail $(RETAIL))

docs: $(READY) ## write the generated parts of the documents again
	$(VENV)/bin/python -m jobs.bench.readme

LOCKED := requirements.lock requirements-airflow.lock requirements-test.lock
COMPILE = $(VENV)-lock/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --all-build-deps --no-header --no-annotate \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options

lock: ## resolve pyproject.toml again and pin what it gives, with the digests of every file
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet pip-tools==7.6.2
	rm -f $(LOCKED)
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(COMPILE) --constraint requirements.lock --extra airflow --output-file requirements-airflow.lock pyproject.toml
	$(COMPILE) --constraint requirements-airflow.lock --extra test --output-file requirements-test.lock pyproject.toml
	rm -rf $(VENV)-lock

audit: $(READY_TEST) ## look for dangerous calls in our own code
	$(VENV)/bin/bandit --quiet --recursive cinematch jobs serving schemas warehouse dags .ci

REQUESTS ?= 100000
fuzz: $(READY_TEST) ## send so many changed requests to a real server: REQUESTS=100000
	FUZZ_REQUESTS=$(REQUESTS) FUZZ_SEED=$$(date +%s) $(VENV)/bin/pytest -s tests/serving/test_fuzz.py

FLIPS ?= 1000
KILLS ?= 40
damage: $(READY_TEST) ## flip so many bits of a release, kill a server that writes so often, and steps: FLIPS=1000 KILLS=40
	FLIPS=$(FLIPS) KILLS=$(KILLS) $(VENV)/bin/pytest -s tests/warehouse/test_hostile_archives.py tests/serving/test_ratings.py \
	  tests/jobs/test_killed.py -k 'every_bit or is_killed or run_killed'

SBOM := sbom.cdx.json
sbom: $(READY_TEST) ## write sbom.cdx.json: every package of the image, with its digests, as CycloneDX
	PYTHONWARNINGS=ignore $(VENV)/bin/cyclonedx-py requirements requirements-airflow.lock --pyproject pyproject.toml \
	  --output-reproducible --output-format JSON --output-file $(SBOM)

screenshots: $(READY_TEST) ## take a picture of every page of what `make serve` serves, in the folder screenshots
	$(VENV)/bin/python .ci/screenshots.py $(WAREHOUSE) screenshots

compose-check: ## run docker-compose.yml for real: needs a Docker engine, and some ten minutes
	$(PYTHON) .ci/compose_check.py

clean: ## remove the environment and the warehouse in this folder
	-chmod -R u+w data
	rm -rf $(VENV) data

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "CineMatch needs Python 3.11 or newer, found: $$($(PYTHON) --version 2>&1 | head -n 1). Get it with: apt-get install python3.11 python3.11-venv, then: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@version=$$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1); [ "$${version:-0}" -ge 17 ] || { \
	  echo "CineMatch needs Java 17 or newer, found: $${version:-none}. Get it with: apt-get install openjdk-17-jre-headless" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -r requirements.lock
	PYTHONWARNINGS=ignore $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

$(READY_AIRFLOW): $(READY) requirements-airflow.lock
	$(INSTALL) -r requirements-airflow.lock
	@touch $(READY_AIRFLOW)

$(READY_TEST): $(READY_AIRFLOW) requirements-test.lock
	$(INSTALL) -r requirements-test.lock
	@touch $(READY_TEST)
