# What one does with this repository. Everything that a target needs is fetched or built by it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Runs a command while one Keycloak serves all its tests.
WITH := go run ./reconcile/keycloak/keycloaktest/with --

# The version of Keycloak that make generate reads; its definitions go to schema/keycloak/MAJOR.MINOR.
KEYCLOAK ?= 26.7.3

# What make bench measures, and how often.
SIZES ?= small,medium
RUNS ?= 5

# What a build says it is: a release's tag, or how far beyond it.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

# The same source and the same Go make the same bytes, wherever the source stands. Time zones are in the program: images have none.
BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags timetzdata -ldflags '-s -w -buildid= -X main.release=$(VERSION)'
PLATFORMS := linux-amd64 linux-arm64 darwin-amd64 darwin-arm64

.PHONY: bench help build dist test test-random test-versions test-crash test-ha test-forge demo demo-ha generate check deps

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/cloakwork
	$(BUILD) -o bin/cloakwork ./cmd/cloakwork

dist: $(PLATFORMS:%=dist/cloakwork-%) ## build dist/: static programs for Linux and macOS, amd64 and arm64, with their checksums
	cd dist && sha256sum cloakwork-* > SHA256SUMS

# One of them: dist/cloakwork-linux-arm64.
.PHONY: $(PLATFORMS:%=dist/cloakwork-%)
$(PLATFORMS:%=dist/cloakwork-%): dist/cloakwork-%:
	GOOS=$(word 1,$(subst -, ,$*)) GOARCH=$(word 2,$(subst -, ,$*)) $(BUILD) -o $@ ./cmd/cloakwork

test: deps ## run all tests on a real Keycloak, except those of test-forge, test-crash and test-ha
	packages=$$(go list ./... | grep -v /forgetest); $(WITH) go test -timeout 35m -skip '^Test(HA|EveryCrashOf(Flows|Authorization|Everything))' $$packages

test-random: deps ## try random realms: N=20 with new seeds, or the one of SEED=5; SHRINK=5m looks so long for the smallest that fails
	$(WITH) go test -timeout 5h ./reconcile -run TestRandomRealms -args -trials $(or $(N),20) -seed $(or $(SEED),0) -shrink $(or $(SHRINK),5m)

# Workflows took their present shape in 26.7, which is also when unknown keys of an authenticator's configuration became masked.
test-versions: deps ## walk every kind through its states, and apply exports, on the newest 26.4, 26.5 and 26.7
	CLOAKWORK_TEST_KEYCLOAK= $(WITH:--=-version 26.4.7 --) go test -timeout 20m ./reconcile -run 'Walk|Defaults|Export' -skip '/workflows|/configurations|/groups_of_organizations|^TestExportedManifestsHoldWorkflows'
	CLOAKWORK_TEST_KEYCLOAK= $(WITH:--=-version 26.5.6 --) go test -timeout 20m ./reconcile -run 'Walk|Defaults|Export' -skip '/workflows|/configurations|/groups_of_organizations|^TestExportedManifestsHoldWorkflows'
	CLOAKWORK_TEST_KEYCLOAK= $(WITH:--=-version 26.7.3 --) go test -timeout 20m ./reconcile -run 'Walk|Defaults|Export'

test-crash: deps ## kill a process before and after each of its writes of flows, of what clients protect, and in a realm with everything (EVERY=5 takes every fifth of these)
	EVERY=$(EVERY) $(WITH) go test -timeout 150m ./reconcile -run '^TestEveryCrashOf(Flows|Authorization|Everything)'

test-forge: deps ## run the tests on a real forge, which is built first (minutes, the first time)
	$(WITH) go test -timeout 30m ./drift/status/forgetest

test-ha: deps ## hold platform local to all that drivers promise, and its nodes to what people may notice (half an hour or more)
	go test -timeout 150m ./reconcile/platform/local -run '^TestHA'

demo: deps ## see a realm follow its repository, on a Keycloak of its own (FORGE=gitea, KEEP=1)
	@echo 'building the demo; the first time this takes a minute or two'
	@CGO_ENABLED=0 go build -trimpath -o bin/demo ./cmd/demo && exec bin/demo

demo-ha: deps ## see servers follow their repository while people use them: three nodes, a roll, a bad extension, a killed node; two regions, a move, a killed region (KEEP=1 keeps their logs, ONLY=ha or ONLY=regions tells one story)
	@go run ./cmd/demo-ha

bench: deps build ## measure requests and times against floors of the same run (SIZES=small,medium,large RUNS=5 KEYCLOAK=26.7.3)
	go run ./cmd/bench -sizes $(SIZES) -runs $(RUNS) -version $(KEYCLOAK)

generate: deps ## write the definitions of a Keycloak version from its classes, and its defaults from a server (KEYCLOAK=26.7.3)
	go run ./schema/generate -version $(KEYCLOAK)
	CLOAKWORK_TEST_KEYCLOAK= $(WITH:--=-version $(KEYCLOAK) --) go test ./reconcile -run TestDefaultsAreThoseOfTheServer -update

check: deps ## gofmt, vet, staticcheck, a build for macOS, and the race detector where goroutines are
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; } >&2
	go vet ./...
	go tool staticcheck ./...
	GOOS=darwin CGO_ENABLED=0 go build -o /dev/null ./cmd/cloakwork
	CGO_ENABLED=1 $(WITH) go test -race -timeout 30m -skip '^TestEveryCrashOf(Flows|Authorization|Everything)' ./reconcile ./reconcile/git ./reconcile/keycloak/... ./reconcile/platform/local/dataplane ./reconcile/platform/local/telemetry

# Tools of the tests, as command:packages of Debian. Of PostgreSQL we need the programs: Debian's package is told to make no server of its own.
TOOLS := javac:default-jdk-headless mvn:maven git:git sshd:openssh-server gcc:gcc,libc6-dev /usr/lib/postgresql/*/bin/postgres:postgresql pip3:python3-pip

deps: ## install the tools that tests need, where they are missing and root may
	@packages=; \
	for tool in $(TOOLS); do \
		command -v $${tool%%:*} >/dev/null || { name=$${tool#*:}; packages="$$packages $${name//,/ }"; }; \
	done; \
	[ -n "$$packages" ] || exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		case "$$packages " in *' postgresql '*) \
			mkdir -p /etc/postgresql-common/createcluster.d; \
			echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/programs-only.conf;; \
		esac; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$packages; \
	else \
		echo "missing tools; install what these packages of Debian hold:$$packages" >&2; exit 1; \
	fi
