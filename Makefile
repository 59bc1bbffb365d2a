# make run    build culvert and see it work on loopback
# make test   every check and every test; installs what the tests need
# make soak   the same tests at the sizes that take hours
# make bench  what culvert costs beside nginx and HAProxy; BENCH="--only messages" for a part
# make bench-check     what the inner functions cost, beside the committed baseline
# make bench-baseline  accept what they cost now
# make fuzz   every fuzz target for FUZZTIME each

COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 60s
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
PACKAGES = nginx libnginx-mod-stream haproxy openssl curl nftables iproute2 dnsmasq-base chromium pebble

# The race detector needs cgo and a C compiler; culvert itself needs neither.
RACE = $(shell test "$$(go env CGO_ENABLED)" = 1 && command -v $$(go env CC) >/dev/null && echo -race)

.PHONY: build run test check packages soak bench bench-check bench-baseline fuzz clean

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o bin/ ./cmd/...

run: build
	bin/culvert demo

test: packages check build
	go test $(RACE) ./...
	@echo "and once more without the race detector, for the figures of memory:"
	go test ./...

check:
	@bad=$$(gofmt -l .); test -z "$$bad" || { echo "gofmt would change:" $$bad; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...

packages:
	@.ci/packages $(PACKAGES)

soak: packages build
	CULVERT_SOAK=1 go test -timeout 24h ./...

bench: packages build
	bin/culvert-bench run --save bench/results/$(shell date +%Y-%m-%d) $(BENCH)

# Rounds of everything rather than -count, which would run a benchmark six
# times before its reference.
MEASURED = ./sniff ./balancer ./l4 ./cmd/internal/accesslog
BENCH_ROUNDS = for round in 1 2 3 4 5 6; do \
  go test -run '^$$' -bench . -benchmem -benchtime 50ms -count 1 $(MEASURED) || exit 1; done

bench-check: build
	@$(BENCH_ROUNDS) | bin/culvert-bench check

bench-baseline: build
	@$(BENCH_ROUNDS) | bin/culvert-bench check -update

fuzz:
	@for pkg in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9]*' $$pkg/*_test.go | cut -c6-); do \
	    echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done

clean:
	rm -rf bin
