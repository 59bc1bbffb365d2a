package l4

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPhaseTableIsComplete: every phase says what an event does, when it ends
// and how it goes on elsewhere, or is one of those that need not.
func TestPhaseTableIsComplete(t *testing.T) {
	table := newPhaseTable()
	names := map[string]bool{}
	for p := phase(1); p < phaseCount; p++ {
		x := table[p]
		if x.name == "" || names[x.name] {
			t.Errorf("phase %d is called %q, want a name of its own", p, x.name)
		}
		names[x.name] = true
		if (x.deadline == nil) != (x.expired == nil) {
			t.Errorf("phase %s has a deadline without an end, or the reverse", x.name)
		}
		if x.deadline == nil && p != phaseGone {
			t.Errorf("phase %s has no deadline", x.name)
		}
		if x.event == nil && p != phaseGone && p != phaseHandled { // its handler has the socket
			t.Errorf("phase %s ignores events", x.name)
		}
		if table.handedOver(p) == (p == phaseGone || p == phaseHandled) {
			t.Errorf("phase %s: handed over %v", x.name, table.handedOver(p))
		}
		if want := p != phaseGone && p != phaseLingering && p != phaseAwaitAck; x.open != want {
			t.Errorf("phase %s: open %v, want %v", x.name, x.open, want)
		}
	}
	if table[0].name != "" {
		t.Error("the zero value is a phase")
	}
}

// TestWireValues holds the numbers that are sent to another process. A line may
// be added; one that changes makes an upgrade misread connections.
func TestWireValues(t *testing.T) {
	want := []string{
		"phase hello=1", "phase rate slot=2", "phase dial=3", "phase relay=4", "phase lingering=6", "phase await ack=7",
		"flow open=0", "flow ended=1", "flow shut=2",
		"party culvert=0", "party client=1", "party server=2",
		"switch inherit=0", "switch on=1", "switch off=2",
	}
	if got := WireValues(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestWireListsAreComplete counts the constants of each type that is sent, so
// that a new one cannot be left out of what processes compare.
func TestWireListsAreComplete(t *testing.T) {
	for _, tt := range []struct {
		typ  string
		want int
	}{
		{"flowState", len(flowStates)}, {"Party", len(parties)}, {"Switch", len(switches)}, {"phase", phaseCount - 1},
	} {
		if got := constantsOf(t, tt.typ); got != tt.want {
			t.Errorf("%d constants of type %s, %d are known", got, tt.typ, tt.want)
		}
	}
}

// constantsOf counts the constants of a type in the source of this package.
func constantsOf(t *testing.T, typ string) (n int) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(node ast.Node) bool {
			if v, ok := node.(*ast.ValueSpec); ok && len(v.Values) > 0 {
				if id, ok := v.Type.(*ast.Ident); ok && id.Name == typ && !strings.HasPrefix(v.Names[0].Name, "default") {
					n += len(v.Names)
				}
			}
			return true
		})
	}
	return n
}

// TestHandoverThatIsNotUnderstoodIsRefused: before anything of it is used.
func TestHandoverThatIsNotUnderstoodIsRefused(t *testing.T) {
	good := func() *Handover {
		return &Handover{
			Phase: uint8(phaseRelay), Ends: [2]HandoverEnd{{Open: true}, {Open: true}}, Pool: "p", Server: "s",
			Ending: &HandoverEnding{By: Server}, Search: &HandoverSearch{},
		}
	}
	table := newPhaseTable()
	tests := []struct {
		name   string
		change func(*Handover)
		want   string // "": it is accepted
	}{
		{"as it should be", func(*Handover) {}, ""},
		{"no phase", func(h *Handover) { h.Phase = 0 }, "unknown phase 0"},
		{"a phase of the future", func(h *Handover) { h.Phase = phaseCount }, "unknown phase 9"},
		{"a phase that is never handed over", func(h *Handover) { h.Phase = uint8(phaseHandled) }, "unknown phase 5"},
		{"no client", func(h *Handover) { h.Ends[client].Open = false }, "relay without a client"},
		{"relaying to no server", func(h *Handover) { h.Server = "" }, "relay without a server"},
		{"dialing no server", func(h *Handover) { h.Phase, h.Server = uint8(phaseDial), "" }, "dial without a server"},
		{"dialing without a hello", func(h *Handover) { h.Phase, h.Search = uint8(phaseDial), nil }, "dial without a server"},
		{"lingering without an end", func(h *Handover) { h.Phase, h.Ending = uint8(phaseLingering), nil }, "lingering without an end"},
		{"a flow state of the future", func(h *Handover) { h.Flows[server].State = 3 }, "unknown flow state 3"},
		{"a party of the future", func(h *Handover) { h.First = 3 }, "unknown party 3"},
		{"an end by a party of the future", func(h *Handover) { h.Ending.By = 4 }, "unknown party"},
		{"a switch of the future", func(h *Handover) { h.Session.KeepHalfClose = 3 }, "unknown switch 3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := good()
			tt.change(h)
			err := h.check(table)
			if (err == nil) != (tt.want == "") || err != nil && !regexp.MustCompile(regexp.QuoteMeta(tt.want)).MatchString(err.Error()) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
