# Everything is the Go toolchain's; make only names it.

# How long each fuzz target runs, and how long all of them may take together.
FUZZTIME ?= 20s
FUZZBUDGET ?= 3m

# How long make torture and torture-cluster run, and what decides their faults.
FOR ?= 30m
SEED ?= 1

comma := ,

.PHONY: run cluster quick test test-elections bench load torture torture-cluster build console screenshots help

run: build ## build and run a development server on 127.0.0.1:8080 (BELFRY_LISTEN takes another)
	./bin/belfry serve --dev

cluster: build ## build and run three nodes of a cluster on this machine
	./bin/belfry cluster dev

quick: ## gofmt, vet, staticcheck, unit tests: no server, no race detector, no fuzzing
	go run ./.ci/check -quick

test: ## gofmt, vet, staticcheck, all tests with -race, short fuzz runs
	go run ./.ci/check -fuzztime $(FUZZTIME) -fuzzbudget $(FUZZBUDGET)

test-elections: ## tests of the store while leaderships end every second (some 6 min)
	BELFRY_TEST_ELECTIONS=1s go test -count=1 -timeout 30m ./raftstore ./raftstore/replica

bench: ## all benchmarks
	go test -run '^$$' -bench . -benchmem ./...

# Numbers of shards that the load figures are taken with, and how long pairs are
# measured.
SHARDS ?= 1
LOADTIME ?= 10s

load: build ## the load figures, in one table
	./bin/belfry load table --shards "$(subst $() ,$(comma),$(strip $(SHARDS)))" --duration $(LOADTIME) $(LOADFLAGS)

build: ## build bin/belfry
	go build -trimpath -o bin/belfry ./cmd/belfry

console: client/node_modules ## build the web console's pages anew, gateway/console/dist, after a change of client/console or client/js
	cd client && npm run --silent console

screenshots: client/node_modules ## make docs/images anew (Chromium)
	cd client && npx vite-node --config vitest.config.ts console/screenshots.ts

client/node_modules: client/package-lock.json
	cd client && npm ci --ignore-scripts --no-audit --no-fund --omit-lockfile-registry-resolved
	touch $@

torture: ## faults of every kind under verifying load, for FOR=30m with SEED=1 (Linux)
	go run ./loadtest/torture -for $(FOR) -seed $(SEED)

torture-cluster: ## three nodes, killed, frozen, cut off and more under verifying load, for FOR=30m with SEED=1 (Linux)
	go run ./loadtest/cluster -for $(FOR) -seed $(SEED)

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
