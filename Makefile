# Everything that can be done with this repository. "make help" lists it.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Binaries are static; only the race detector needs cgo.
export CGO_ENABLED ?= 0

GO ?= go
BIN := bin/slipway
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
# Without -trimpath, which would compile everything once more than the tests do.
BUILDFLAGS := -buildvcs=false -ldflags='-s -w -X main.version=$(VERSION)'
# Without vet: the linters include it, for every module.
GO_TEST := test -vet=off
# Further flags for go test: make test TESTFLAGS='-count=1 -v'
TESTFLAGS ?=
# How long each fuzz target runs.
FUZZTIME ?= 10s

STAGE := scripts/stage

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## compile bin/slipway
	@$(STAGE) "build" $(GO) build $(BUILDFLAGS) -o $(BIN) ./cmd/slipway

.PHONY: demo
demo: build ## build an example, push it to a registry on loopback, show and run the result
	@scripts/install-packages --optional busybox-static:busybox
	@$(STAGE) "demo" $(GO) run ./internal/demo -slipway $(BIN) -example examples/hello -out demo-out

# The platforms of make image; IMAGE_FLAGS=-twice builds everything twice and compares the digests.
PLATFORMS ?= linux/amd64,linux/arm64
IMAGE_FLAGS ?=

.PHONY: image
image: build ## build slipway's own images with slipway, into dist/image
	@scripts/install-packages --optional busybox-static:busybox
	@$(STAGE) "images of slipway" $(GO) run ./internal/ownimage -slipway $(BIN) -platforms $(PLATFORMS) -version $(VERSION) \
		-epoch "$$(git log -1 --format=%ct 2>/dev/null || echo 0)" $(IMAGE_FLAGS)

.PHONY: test
test: test-tools ## run all tests
	@$(REQUIRE_TOOLS) $(STAGE) "tests" $(GO) $(GO_TEST) -timeout=30m $(TESTFLAGS) ./...
	@$(MAKE) --no-print-directory test-bench
	@$(MAKE) --no-print-directory test-cache
	@$(MAKE) --no-print-directory test-argo
	@$(MAKE) --no-print-directory test-tekton

.PHONY: test-cache
test-cache: test-tools ## run the tests of the cache's stores against servers for S3, GCS and Azure
	@$(REQUIRE_TOOLS) $(STAGE) "tests of caches in clouds" $(GO) -C test/cache $(GO_TEST) -timeout=30m $(TESTFLAGS) ./...

.PHONY: test-tekton
test-tekton: test-tools ## run the tests against Tekton
	@$(REQUIRE_TOOLS) $(STAGE) "tests against Tekton" $(GO) -C test/tekton $(GO_TEST) -timeout=30m $(TESTFLAGS) ./...

# What the tests use beside Go:
#   busybox-static    the root filesystem in which RUN is tested
#   skopeo, umoci     read our images with tools that are not ours
#   docker-registry   the registry that most others are made from
#   bzip2, xz, zstd   make the archives that ADD unpacks
#   runc              runs containers that are shaped like pods
#   npm               installs Azurite, an emulator of Azure's storage, and the modules that an SBOM lists
#   mmdebstrap, rpm, python3, objcopy
#                     make root filesystems and say what is installed in them
TEST_PACKAGES := busybox-static:busybox skopeo:skopeo umoci:umoci docker-registry:docker-registry \
	bzip2:bzip2 xz-utils:xz zstd:zstd runc:runc npm:npm mmdebstrap:mmdebstrap rpm:rpm python3:python3 binutils:objcopy

# With it, the lack of a tool is a failure. Only where all are there.
REQUIRE_TOOLS = SLIPWAY_REQUIRE_TOOLS=$$(scripts/install-packages --check $(TEST_PACKAGES) && echo 1 || true)

.PHONY: test-tools
test-tools: ## install what the tests use, where that is possible
	@scripts/install-packages --optional $(TEST_PACKAGES)

.PHONY: test-argo
test-argo: test-tools ## run the tests against Argo Workflows
	@$(REQUIRE_TOOLS) $(STAGE) "tests against Argo" $(GO) -C test/argo $(GO_TEST) -timeout=60m $(TESTFLAGS) ./...

# The backend that BuildKit's tests are run with; inplace and sandbox in containers shaped like pods.
ISOLATION ?= namespace

.PHONY: conformance
conformance: build test-tools ## run BuildKit's tests of the Dockerfile frontend
	@SLIPWAY_BINARY=$(CURDIR)/$(BIN) $(STAGE) "BuildKit's tests" $(GO) -C test/conformance run . -isolation=$(ISOLATION)

# What is raced. The suppressions are of races that are not ours.
RACED = ./results/... ./pkg/... ./cmd/... ./internal/...
RACE_OPTIONS = GORACE=suppressions=$(CURDIR)/scripts/race-suppressions

.PHONY: race
race: ## run the tests with the race detector (needs a C compiler)
	@CGO_ENABLED=1 $(RACE_OPTIONS) $(STAGE) "tests with the race detector" $(GO) $(GO_TEST) -race -short -timeout=30m $(TESTFLAGS) $(RACED)

.PHONY: microbench
microbench: ## run the benchmarks whose figures ARCHITECTURE.md gives
	@$(STAGE) "benchmarks" $(GO) test -run='^$$' -bench=. -benchmem ./pkg/...

# Flags of the comparison: make bench BENCH_FLAGS='-workloads copy-only -rounds 3'; -h lists them.
BENCH_FLAGS ?=

.PHONY: bench
bench: ## compare slipway with Kaniko, BuildKit and Buildah, into bench/report
	@scripts/install-packages --optional $(TEST_PACKAGES) buildah:buildah
	@$(STAGE) "comparison with other builders" $(GO) -C bench run . $(BENCH_FLAGS)

.PHONY: test-bench
test-bench: ## run the tests of the comparison's own code
	@$(STAGE) "tests of the comparison" $(GO) -C bench $(GO_TEST) $(TESTFLAGS) ./...

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	@$(STAGE) "fuzzing, $(FUZZTIME) each" scripts/fuzz $(FUZZTIME)

.PHONY: fmt
fmt: ## format the code
	gofmt -w $$(git ls-files --cached --others --exclude-standard '*.go')

.PHONY: fmt-check
fmt-check: ## fail if code is not formatted
	@$(STAGE) "formatting" scripts/check-format

.PHONY: lint
lint: ## run the linters that CI runs, go vet among them
	@$(STAGE) "lint" scripts/lint

.PHONY: generate
generate: ## write what is generated of the Tekton bundle: variants, StepAction, tables, catalog.yaml
	@$(GO) run ./internal/bundle/cmd/bundle generate

.PHONY: catalog
catalog: generate ## write catalog.yaml, with what it lists

.PHONY: verify-generated
verify-generated: ## fail if a generated file is not as "make generate" would write it
	@$(STAGE) "generated files" $(GO) test -count=1 -run='^TestGenerated' ./internal/bundle

.PHONY: release
release: ## write dist/resources.tar.gz, dist/catalog.yaml and dist/SHA256SUMS
	@$(GO) run ./internal/bundle/cmd/bundle release dist

# Where "make bundle" pushes the Tekton bundle; nowhere if it is empty.
BUNDLE ?=

.PHONY: bundle
bundle: ## write the Tekton bundle as OCI layout dist/bundle, and push it to BUNDLE
	@$(GO) run ./internal/bundle/cmd/bundle image dist/bundle $(BUNDLE)

.PHONY: clean
clean: ## remove what the other targets made
	rm -rf bin demo-out dist .cache
