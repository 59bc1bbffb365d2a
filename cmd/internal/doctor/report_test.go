package doctor

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample is a report with everything in it.
func sample() *Report {
	bad := func() *line {
		l := newLine("ping")
		l.wrong("look", "it says %q", "no\x1b[2J")
		l.warn("wait", "it is slow\tand \x1b old")
		return l
	}
	good := newLine("clock")
	good.see("right")
	good.note("all is %s", "well")
	return newReport([]sheet{
		{"chat", "one", []*line{bad(), good}}, {"chat", "two", []*line{bad(), good}}, {"chat", "", []*line{good}}, {"docs", "one", []*line{bad()}},
	})
}

func TestReportForPeople(t *testing.T) {
	const want = `POOL  SERVER  CHECK  RESULT
chat  one     ping   wrong (1, 2)
chat  one     clock  ok: right
chat  two     ping   wrong (1, 2)
chat  two     clock  ok: right
chat  -       clock  ok: right
docs  one     ping   wrong (3, 4)

1. wrong: pool chat, one, two: ping: it says "no\x1b[2J"
   to do: look

2. warning: pool chat, one, two: ping: it is slow?and ? old
   to do: wait

3. wrong: pool docs, one: ping: it says "no\x1b[2J"
   to do: look

4. warning: pool docs, one: ping: it is slow?and ? old
   to do: wait

notes:
- pool chat, one, two: all is well

6 checks: 3 ok, 0 with a warning, 3 wrong
`
	if diff := cmp.Diff(want, sample().text()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestReportForScripts(t *testing.T) {
	text := string(must(json.Marshal(sample())))
	for _, want := range []string{
		`{"result":"wrong","checks":[{"pool":"chat","server":"one","check":"ping","result":"wrong","findings":[1,2]}`,
		`{"pool":"chat","check":"clock","result":"ok","seen":"right"}`,
		`{"number":2,"result":"warning","pool":"chat","servers":["one","two"],"check":"ping","problem":"it is slow?and ? old","remedy":"wait"}`,
		`"notes":[{"pool":"chat","servers":["one","two"],"text":"all is well"}]`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if got, want := string(must(json.Marshal(newReport(nil)))), `{"result":"ok","checks":[],"findings":[],"notes":[]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWorse(t *testing.T) {
	for _, tt := range []struct{ a, b, want Result }{{OK, OK, OK}, {OK, Warning, Warning}, {Wrong, Warning, Wrong}, {Warning, Wrong, Wrong}} {
		if got := worse(tt.a, tt.b); got != tt.want {
			t.Errorf("worse(%s, %s) is %s, want %s", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]version{
		"10.11.2": {10, 11, 2}, "9.9.0.1234.hash.true": {9, 9, 0}, "": {}, "dev": {}, "10.1": {},
	} {
		if got := parseVersion(text); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}
