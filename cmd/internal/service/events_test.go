package service

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"culvert/balancer"
	"culvert/cmd/internal/notify"
	"culvert/health"
)

// TestPanicIsLoggedWhenItChanges: once at its begin, and once at its end.
func TestPanicIsLoggedWhenItChanges(t *testing.T) {
	p, err := balancer.New(balancer.Config{Name: "chat", Panic: 0.5, Servers: []balancer.ServerConfig{
		{Address: "10.0.0.1:1"}, {Address: "10.0.0.2:1"}, {Address: "10.0.0.3:1"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	e := newEvents(notify.Config{}, slog.New(slog.NewTextHandler(&log, nil)))
	steps := []struct {
		server int
		out    bool
		want   string
	}{
		{0, true, ""},
		{1, true, `level=WARN msg="too few servers are in service, all are used" pool=chat in_service=1 of=3`},
		{2, true, ""},
		{2, false, ""},
		{0, false, `level=INFO msg="enough servers are in service again" pool=chat in_service=2 of=3`},
	}
	for i, st := range steps {
		log.Reset()
		s := p.Servers()[st.server]
		s.Set(balancer.Ejected, st.out, 0)
		ejected := health.Ejected{Server: s, Why: "refused"}
		if st.out {
			ejected.For = time.Second
		}
		e.ejected(ejected)
		e.assess(p)
		if got := strings.Count(log.String(), "\n") - 1; got > 1 || (got == 1) != (st.want != "") || !strings.Contains(log.String(), st.want) {
			t.Errorf("step %d: the log has\n%swant beside the ejection %q", i, log.String(), st.want)
		}
	}
}
