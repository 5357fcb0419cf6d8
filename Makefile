# `make help` lists the targets. Nothing but Go is needed for build, run, sandbox and test.
SHELL := /bin/bash
GO    ?= go
TOOL  := $(GO) tool -modfile=deploy/tools.mod
RACE  ?=
# CI runs fewer tests at a time: the race detector makes a machine of two cores so slow that leases would be lost by sessions that wait.
PARALLEL ?= -parallel 6
# whatsmeow and its util race with themselves (a socket closed while it is replaced, for one) and the detector blames whichever test
# of ours runs then: their packages are compiled without it. Ours, and what ours share with theirs, stay watched.
UNWATCHED = $(if $(RACE),-gcflags=go.mau.fi/...=-race=false)

.DEFAULT_GOAL := help
.PHONY: help build run sandbox test fuzz bench chaos soak screenshots lint fmt verify

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/api and bin/worker
	@mkdir -p bin
	$(GO) build -trimpath -o bin/ ./api ./worker

run: build ## Run the hub against real WhatsApp: shows the QR code to scan, then a curl line
	@BOOTSTRAP_TENANT="$${BOOTSTRAP_TENANT:-algo}" exec bin/api run

sandbox: build ## Run the hub with a simulated WhatsApp, tenant algo paired, and print a curl line that works
	@SANDBOX=true HTTP_ADDR="$${HTTP_ADDR:-127.0.0.1:3001}" \
		DATABASE_URL="$${DATABASE_URL:-sqlite://data/sandbox/hub.db}" BLOB_URL="$${BLOB_URL:-file://data/sandbox/media}" \
		exec bin/api

test: ## Run every test; RACE=-race adds the race detector
	$(GO) test $(RACE) $(UNWATCHED) -timeout 40m $(PARALLEL) ./...

# A fixed count, so that it takes as long today as tomorrow. The tests' own binaries are used, which fuzz without looking at coverage: an
# instrumented build compiles SQLite anew. `go test -fuzz FuzzX ./internal/...` of one of them looks deeper.
FUZZ    ?= 3000x
FUZZ_IN ?= internal
fuzz: ## Try every parser of outside data with made-up input; FUZZ=60s tries each for longer
	@set -eo pipefail; built="$$(mktemp -d)"; trap 'rm -rf "$$built"' EXIT; \
	$(GO) test -c -o "$$built/" $$(grep -rlE --include='*_test.go' '^func Fuzz' $(FUZZ_IN) | xargs -n1 dirname | sort -u | sed 's|^|./|'); \
	grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9]+' $(FUZZ_IN) | sort | while IFS=: read -r file name; do \
		folder="$$(dirname $$file)"; name="$${name#func }"; echo "fuzz $$folder $$name"; \
		(cd "$$folder" && "$$built/$$(basename $$folder).test" -test.run '^$$' -test.fuzz "^$$name$$" -test.fuzztime $(FUZZ) -test.fuzzminimizetime 10x \
			-test.fuzzcachedir "$$built/corpus" -test.timeout 5m 2>&1 | { grep -v '^fuzz: \|^PASS\|^warning: ' || true; }) < /dev/null; \
	done

bench: ## Measure the hub against bare echo, asynq and whatsmeow, as a Markdown table; ARGS='-quick', ARGS='-only accept', ARGS=-help
	$(GO) run ./internal/bench $(ARGS)

chaos: ## Break hubs on purpose while messages flow, and count what became of each; ARGS="-h" lists the flags
	$(GO) run ./internal/chaos $(ARGS)

soak: ## Send for 30 minutes at 70 % of what the hub can do and fail when memory, goroutines or files grow; ARGS="-for 2m -rate 5"
	$(GO) run ./internal/soak $(ARGS)

screenshots: ## Take a picture of each page into docs/screenshots
	@mkdir -p docs/screenshots
	SCREENSHOTS=$(CURDIR)/docs/screenshots $(GO) test -count=1 -run TestEveryPageIsAccessible ./internal/webui

lint: ## Check style and the walls between rooms
	$(TOOL) golangci-lint run ./...

fmt: ## Format the code
	$(TOOL) golangci-lint fmt ./...

verify: ## Regenerate what is generated, tidy, and fail when anything differs from what is committed
	$(GO) generate ./...
	$(GO) mod tidy
	$(GO) mod verify
	$(GO) vet ./...
	@git diff --exit-code --stat -- . || { echo "verify: the tree differs from what is committed"; exit 1; }
