# Two commands on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Two processes with a thread each: two that compute with all processors slow one another far more than twofold.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

.PHONY: demo test test-slow test-all check format lock clean

demo: $(STAMP)
	@$(BIN)/headway train reviews --output_dir runs/demo --overwrite
	@echo
	@echo 'Try it:   $(BIN)/headway predict runs/demo --text "The tent leaked, but what a view."'
	@echo 'Look:     runs/demo/report.html   (written again by: $(BIN)/headway report runs/demo)'

test: $(STAMP)
	$(PYTEST)

test-all: $(STAMP)
	$(PYTEST) -m "not gpu and not network"

test-slow: $(STAMP)
	$(PYTEST) -m "slow and not gpu and not network"

check: $(STAMP)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# torch first: another package would pull whatever build of it is newest.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --no-deps --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# After a change of the dependencies in pyproject.toml: install them by hand, run the tests, then write the lock anew.
lock:
	@{ echo '# Every version that headway is developed and tested with. Made by: make lock'; \
	   echo 'torch==2.13.0'; \
	   $(BIN)/pip freeze --exclude-editable | grep -v -i -E '^(torch==|headway|-e|#)'; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
