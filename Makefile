# Everything is the Go toolchain's; make only names it.

# How long each fuzz target runs, and how long all of them may take together.
FUZZTIME ?= 20s
FUZZBUDGET ?= 3m

comma := ,

.PHONY: run test bench load build help

run: build ## build and run a development server on 127.0.0.1:8080
	./bin/belfry serve --dev

test: ## gofmt, vet, staticcheck, all tests with -race, short fuzz runs
	go run ./.ci/check -fuzztime $(FUZZTIME) -fuzzbudget $(FUZZBUDGET)

bench: ## all benchmarks
	go test -run '^$$' -bench . -benchmem ./...

# Numbers of shards that the load figures are taken with, and how long pairs are
# measured.
SHARDS ?= 1
LOADTIME ?= 10s

load: build ## the load figures, in one table
	./bin/belfry load table --shards "$(subst $() ,$(comma),$(strip $(SHARDS)))" --duration $(LOADTIME) $(LOADFLAGS)

build: ## build bin/belfry
	go build -o bin/belfry ./cmd/belfry

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
