package yaml

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"culvert/balancer"
	"culvert/cmd/internal/admin"
	"culvert/l4"
	"culvert/sniff"
)

// The documents name every key, reason and metric there is. These tests keep
// them from falling behind.

const root = "../../.."

// document reads a file of the repository.
func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// rows returns the rows of the tables of a document that have `word`, as code,
// in their first cell.
func rows(doc, word string) []string {
	var found []string
	for line := range strings.Lines(doc) {
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		if strings.HasPrefix(line, "|") && strings.Contains(first, "`"+word+"`") {
			found = append(found, line)
		}
	}
	return found
}

// fenced matches a fenced block: what it says of its language, and its text.
var fenced = regexp.MustCompile("(?ms)^```([^\n`]*)\n(.*?)^```$")

// TestDocumentedYAML parses every example. A block that is no whole file is
// marked "yaml fragment" and must be YAML at least.
func TestDocumentedYAML(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	names = append(names, filepath.Join(root, "README.md"))
	whole := 0
	for _, name := range names {
		doc := document(t, strings.TrimPrefix(name, root))
		for _, m := range fenced.FindAllStringSubmatchIndex(doc, -1) {
			lang, text := doc[m[2]:m[3]], doc[m[4]:m[5]]
			at := fmt.Sprintf("%s:%d", name, 1+strings.Count(doc[:m[4]], "\n"))
			switch lang {
			case "yaml":
				whole++
				checkExample(t, at, text)
			case "yaml fragment":
				if _, err := parseYAML(text); err != nil {
					t.Errorf("%s: %v", at, err)
				}
			}
		}
	}
	if whole < 2 {
		t.Errorf("found %d whole examples: is the pattern right?", whole)
	}
}

func checkExample(t *testing.T, at, text string) {
	_, warnings, err := Parse(at, []byte(text))
	if err != nil {
		t.Error(err)
		return
	}
	if len(warnings) > 0 {
		t.Error(warnings)
	}
}

// generated matches a table of the reference between its marks.
var generated = regexp.MustCompile("(?s)<!-- keys:begin ([a-z_ ]+) -->\n.*?<!-- keys:end -->")

// TestReferenceIsCurrent compares the tables of keys in docs/configuration.md
// with those that the decoder has. With -update it rewrites them.
func TestReferenceIsCurrent(t *testing.T) {
	doc := document(t, "docs/configuration.md")
	tables := References()
	seen := map[string]bool{}
	got := generated.ReplaceAllStringFunc(doc, func(part string) string {
		id := generated.FindStringSubmatch(part)[1]
		seen[id] = true
		if tables[id] == "" {
			t.Errorf("there are no keys called %q", id)
		}
		return "<!-- keys:begin " + id + " -->\n" + tables[id] + "<!-- keys:end -->"
	})
	for id := range tables {
		if !seen[id] {
			t.Errorf("docs/configuration.md has no table of %q: add <!-- keys:begin %s --> and <!-- keys:end -->", id, id)
		}
	}
	if got == doc {
		return
	}
	if *update {
		if err := os.WriteFile(filepath.Join(root, "docs", "configuration.md"), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("docs/configuration.md is not current: go test ./cmd/internal/yaml -run Reference -update\n%s", cmp.Diff(doc, got))
}

// literal returns the value of a string literal.
func literal(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		return ""
	}
	s, _ := strconv.Unquote(lit.Value)
	return s
}

// parseDir parses the Go files of dir but its tests.
func parseDir(t *testing.T, dir string) (files []*ast.File) {
	t.Helper()
	names, err := fs.Glob(os.DirFS(dir), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

func TestDocumentedPolicies(t *testing.T) {
	doc := document(t, "docs/configuration.md")
	for _, p := range balancer.Policies() {
		if len(rows(doc, string(p))) == 0 {
			t.Errorf("docs/configuration.md has no row for the policy %q", p)
		}
	}
}

func TestDocumentedReasons(t *testing.T) {
	doc := document(t, "docs/operating.md")
	reasons := knownReasons(t)
	if !slices.Contains(reasons, string(l4.ReasonClosedEarly)) {
		t.Fatalf("knownReasons no longer finds the reasons: got %q", reasons)
	}
	for _, r := range append(reasons, sniff.Reasons()...) {
		if len(rows(doc, r)) == 0 {
			t.Errorf("docs/operating.md has no row for the reason %q", r)
		}
	}
}

// knownReasons reads the constants of type Reason from the source of l4.
func knownReasons(t *testing.T) (reasons []string) {
	for _, f := range parseDir(t, filepath.Join(root, "l4")) {
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok {
				if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Reason" && len(v.Values) == 1 {
					reasons = append(reasons, literal(v.Values[0]))
				}
			}
			return true
		})
	}
	return reasons
}

// TestDocumentedMetrics looks for a row of every metric with all its labels,
// and for metrics that are written about and do not exist.
func TestDocumentedMetrics(t *testing.T) {
	doc := document(t, "docs/operating.md")
	known := knownMetrics(t)
	for name, labels := range known {
		found := rows(doc, name)
		if len(found) == 0 {
			t.Errorf("docs/operating.md has no row for the metric %s", name)
			continue
		}
		if cells := strings.Split(found[0], "|"); strings.TrimSpace(cells[2]) != labels {
			t.Errorf("labels of %s: docs/operating.md has %q, the metric %q", name, strings.TrimSpace(cells[2]), labels)
		}
	}
	for _, page := range []string{"docs/operating.md", "docs/configuration.md"} {
		for _, name := range regexp.MustCompile(`\bculvert_[a-z_]+`).FindAllString(document(t, page), -1) {
			if _, ok := known[name]; !ok {
				t.Errorf("%s: there is no metric %s", page, name)
			}
		}
	}
}

// knownMetrics returns the metrics of the admin server, each with its labels
// joined by ", ". Their descriptions say both, in the only way they can.
func knownMetrics(t *testing.T) map[string]string {
	descs := make(chan *prometheus.Desc)
	go func() {
		admin.NewRegistry(admin.Source{}).Describe(descs)
		close(descs)
	}()
	known := map[string]string{}
	pattern := regexp.MustCompile(`fqName: "(culvert_\w+)".*variableLabels: \{([^}]*)\}`)
	for d := range descs {
		if m := pattern.FindStringSubmatch(d.String()); m != nil {
			known[m[1]] = strings.ReplaceAll(m[2], ",", ", ")
		}
	}
	if len(known) == 0 {
		t.Fatal("found no metric: is the pattern right?")
	}
	return known
}
