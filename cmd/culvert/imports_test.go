package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// arrows says which packages of the tree each package may import. Third-party
// modules that only some may import are in wards.
var arrows = map[string][]string{
	"sniff":     {},
	"balancer":  {"l4/limit"},
	"l4/limit":  {},
	"l4/socket": {},
	"l4":        {"sniff", "balancer", "l4/limit", "l4/socket"},
	"health":    {"balancer"},

	"l4/authority": {},
	"l4/terminate": {"sniff", "balancer", "l4/socket"},

	"cmd/internal/config": {"balancer", "cmd/internal/accesslog", "cmd/internal/notify", "cmd/internal/resolve", "health", "l4", "l4/socket", "l4/terminate", "sniff"},
	"cmd/internal/yaml":   {"balancer", "cmd/internal/accesslog", "cmd/internal/config", "cmd/internal/resolve", "health", "l4", "l4/socket", "l4/terminate", "sniff"},

	"l4/terminate/mattermosttest": {},
	"l4/internal/program":         {},

	"cmd/internal/spool": {},

	"bench":         {"bench/load", "bench/measure", "bench/origin", "bench/peer", "bench/result"},
	"bench/check":   {},
	"bench/load":    {"bench/origin"},
	"bench/measure": {},
	"bench/origin":  {},
	"bench/peer":    {"bench/measure"},
	"bench/report":  {"bench/result"},
	"bench/result":  {},
}

// wards are modules with few keepers.
var wards = map[string][]string{
	"culvert/bench":                       {"cmd/culvert-bench", "bench", "bench/load", "bench/peer", "bench/report"},
	"golang.org/x/sys":                    {"l4/socket"},
	"golang.org/x/crypto":                 {"cmd/internal/service", "l4/terminate"},
	"golang.org/x/net":                    {"cmd/internal/admin"},
	"github.com/goccy/go-yaml":            {"cmd/internal/yaml"},
	"culvert/cmd/internal/yaml":           {"cmd/culvert"},
	"github.com/cespare/xxhash/v2":        {"balancer", "l4/limit"},
	"github.com/prometheus/client_golang": {"cmd/internal/admin"},
	"github.com/spf13/cobra":              {"cmd/culvert", "cmd/culvert-bench"},
	"github.com/HdrHistogram":             {"bench/load"},
	"github.com/coder/websocket":          {"cmd/culvert", "cmd/internal/doctor", "l4/terminate/mattermosttest"},
	"github.com/pires/go-proxyproto":      {"l4"},
	"github.com/miekg/dns":                {"cmd/internal/resolve"},
	"github.com/coreos/go-systemd":        {"cmd/culvert", "cmd/internal/service"},
	"culvert/cmd/internal/service":        {"cmd/culvert"},
	"net/http":                            {"cmd/culvert", "cmd/internal/admin", "cmd/internal/doctor", "cmd/internal/notify", "cmd/internal/service", "health", "l4/terminate", "l4/terminate/mattermosttest"},
}

// testOnly are the packages that only tests may import.
var testOnly = []string{"l4/terminate/mattermosttest", "l4/internal/program"}

// TestImportsFollowTheArrows keeps the architecture from drifting: what a
// package may know about is decided in arrows and wards, not on the way.
func TestImportsFollowTheArrows(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		rel, _ := filepath.Rel(root, file)
		checkImports(t, file, filepath.ToSlash(path.Dir(filepath.ToSlash(rel))))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkImports(t *testing.T, file, pkg string) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	for _, spec := range f.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		if inner, ok := strings.CutPrefix(name, "culvert/"); ok {
			allowed, listed := arrows[pkg]
			if listed && !slices.Contains(allowed, inner) || !listed && !strings.HasPrefix(pkg, "cmd/") || strings.HasPrefix(inner, "cmd/") && !strings.HasPrefix(pkg, "cmd/") {
				t.Errorf("%s: package %s may not import %s", file, pkg, inner)
			}
			if slices.Contains(testOnly, inner) {
				t.Errorf("%s: only tests may import %s", file, inner)
			}
		}
		for module, keepers := range wards {
			if (name == module || strings.HasPrefix(name, module+"/")) && !slices.Contains(keepers, pkg) {
				t.Errorf("%s: package %s may not import %s", file, pkg, name)
			}
		}
	}
}
