# Brickhouse. `make help` lists the targets. Nothing is downloaded but Go modules and Debian packages, and each says so.
SHELL      := /bin/bash
GO         ?= go
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS    := -s -w -X main.version=$(VERSION)
RUN_DIR    ?= run
PORT_BASE  ?= 5060
ADDRESS    ?= 127.0.0.1
FUZZTIME   ?= 20s
CACHE      := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/brickhouse
export CGO_ENABLED = 0

.PHONY: help run build demo test check lint race fuzz bench bench-calls bench-media soak prompts generate lab tools clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: build demo ## build, configure if need be, start both programs and show a call; stays up until Ctrl-C
	@deploy/run.sh "$(RUN_DIR)" "$(ADDRESS)" "$(PORT_BASE)"

build: ## bin/sbc and bin/pbx, static
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/sbc ./sbc
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/pbx ./pbx

demo: # the demonstration that run shows
	$(GO) build -trimpath -o bin/demo ./deploy/lab/demo

tools: ## what the tests need from Debian: foreign phones, SIPp, capture; and a real Vault server, built once
	@deploy/tools.sh

test: build tools ## all tests, with foreign programs; root tests if root
	CGO_ENABLED=1 $(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v /deploy/lab)
	BH_LAB_BIN=$(CURDIR)/bin $(GO) test -timeout 25m -p 1 ./deploy/lab/...

check: lint ## formatting, static checks, generated code, reproducible builds
	@deploy/check.sh

lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not formatted:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

race: ## unit tests under the race detector
	CGO_ENABLED=1 $(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v /deploy/lab)

fuzz: ## every fuzz function for FUZZTIME
	@deploy/fuzz.sh $(FUZZTIME)

bench: ## the filter's cost per packet against its goals (root, 3 minutes), then Go benchmarks with allocations
	$(GO) test -count=1 -timeout 20m -run '^$$' -bench . -benchtime 1x ./bpf
	$(GO) test -run '^$$' -bench . -benchmem $$($(GO) list ./... | grep -v -e /deploy/lab -e '/bpf$$')

soak: build tools ## 100 calls a second for 30 minutes, or as long as FOR says: none fails, memory stays level (root)
	BH_SOAK=$(or $(FOR),30m) BH_LAB_BIN=$(CURDIR)/bin $(GO) test -count=1 -v -timeout 3h -run '^TestSoak$$' ./deploy/lab/product

bench-calls: build ## calls through the product and through Kamailio (root; PEER_BENCH names the peers' bench)
	@PEER_BENCH="$(PEER_BENCH)" RATES="$(or $(RATES),1000,400)" python3 -B deploy/bench/calls.py $(or $(JOB),rate) $(PEERS)

bench-media: build ## media through the product and through rtpengine, by turns (root; PEER_BENCH names the peers' bench)
	@PEER_BENCH="$(PEER_BENCH)" python3 -B deploy/bench/media.py $(or $(JOB),rate) $(KINDS)

prompts: ## speak the exchange's prompts anew (needs espeak-ng)
	cd pbx/internal/prompt && $(GO) run ./generate

generate: ## rebuild the BPF objects (needs clang-14 and llvm-14)
	$(GO) generate ./bpf ./bpf/filterbench

lab: build tools ## the namespace laboratory, by hand
	$(GO) run ./deploy/lab/cmd/labup

clean: ## remove what was built
	rm -rf bin
