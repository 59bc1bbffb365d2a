package admin

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"culvert/balancer"
	"culvert/health"
	"culvert/l4"
)

//go:embed status.html
var statusHTML string

// statusTemplate is parsed once; executing it is safe for concurrent use.
var statusTemplate = template.Must(template.New("status").Funcs(template.FuncMap{
	"bytes": FormatBytes,
}).Parse(statusHTML))

// statusPage serves listeners, pools and servers as an HTML page.
type statusPage struct {
	src Source
	now func() time.Time
}

// status is what the template shows.
type status struct {
	Version       string
	Time          string
	Draining      bool
	Listeners     []listenerRow
	Pools         []poolRows
	BufferedBytes int64
	Pipes         int64
	Paused        int64
	Dropped       uint64
}

type listenerRow struct {
	l4.ListenerStats
	Rejected uint64
}

type poolRows struct {
	Name    string
	Panics  bool
	Servers []serverRow
}

type serverRow struct {
	l4.ServerStats
	Failed  uint64 // attempts
	Reasons string // of the failures, the most frequent first
	known
}

// known is the health of a server.
type known struct {
	check    *health.Status  // nil: it is not probed
	ejection *health.Ejected // nil: it is not ejected, or the reason is not known
}

// The states of a server that gets new connections.
const (
	StateOn     = "on"
	StateBackup = "backup"
)

// State returns StateOn or StateBackup if the server is in service, else the
// cause why it is not.
func (r serverRow) State() string {
	cause := r.Server.Causes().First()
	switch {
	case cause == balancer.Configured:
		return "down in the file"
	case cause != 0:
		return cause.String()
	case r.Server.Backup():
		return StateBackup
	}
	return StateOn
}

// Bad reports whether the server is out of service and not on purpose.
func (r serverRow) Bad() bool {
	return r.Server.Causes()&(balancer.Unhealthy|balancer.Ejected|balancer.Unresolved) != 0
}

// Check describes the result of the last health check, and the ejection if
// there is one.
func (r serverRow) Check() string {
	texts := []string{r.checkText(), r.ejectionText()}
	return strings.Join(slices.DeleteFunc(texts, func(t string) bool { return t == "" }), "; ")
}

func (r serverRow) ejectionText() string {
	if r.ejection == nil {
		return ""
	}
	return fmt.Sprintf("ejected for %s more: %s", r.ejection.For.Round(time.Second), cmp.Or(r.ejection.Why, "seen before the upgrade"))
}

func (r serverRow) checkText() string {
	switch {
	case r.check == nil:
		return ""
	case r.check.Last.At.IsZero():
		return "pending"
	case r.check.Last.Err != nil:
		return r.check.Last.Err.Error()
	}
	text := "passed in " + r.check.Last.Took.Round(100*time.Microsecond).String()
	if c := r.check.Last.Certificate; c != nil && c.Problem != nil {
		text += "; certificate: " + c.Problem.Error()
	}
	return text
}

func (p *statusPage) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	var page bytes.Buffer
	if err := statusTemplate.Execute(&page, p.status()); err != nil {
		http.Error(w, "status page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page.Bytes())
}

func (p *statusPage) status() *status {
	stats := p.src.Stats()
	s := &status{
		Version:       p.src.Version,
		Time:          p.now().Format("15:04:05"),
		Pools:         poolsOf(stats.Servers, p.known()),
		BufferedBytes: stats.BufferedBytes,
		Pipes:         stats.Pipes,
		Paused:        stats.Paused,
	}
	if p.src.Draining != nil {
		s.Draining = p.src.Draining()
	}
	if p.src.Dropped != nil {
		s.Dropped = p.src.Dropped()
	}
	for _, l := range stats.Listeners {
		s.Listeners = append(s.Listeners, rowOf(l))
	}
	return s
}

// known returns the health of each server that is probed or ejected.
func (p *statusPage) known() map[*balancer.Server]known {
	all := map[*balancer.Server]known{}
	if p.src.Health == nil {
		return all
	}
	h := p.src.Health()
	for _, c := range h.Checks {
		all[c.Server] = known{check: &c}
	}
	for s, e := range h.Ejections {
		all[s] = known{all[s].check, &e}
	}
	return all
}

// poolsOf groups servers by pool, both in the order given.
func poolsOf(servers []l4.ServerStats, found map[*balancer.Server]known) []poolRows {
	var pools []poolRows
	index := map[string]int{}
	for _, v := range servers {
		i, ok := index[v.Pool]
		if !ok {
			i = len(pools)
			index[v.Pool] = i
			pools = append(pools, poolRows{Name: v.Pool, Panics: v.Server.Pool().Panics()})
		}
		row := serverRow{ServerStats: v, Reasons: reasonsText(v.Failures), known: found[v.Server]}
		for _, n := range v.Failures {
			row.Failed += n
		}
		pools[i].Servers = append(pools[i].Servers, row)
	}
	return pools
}

// reasonsText lists the number of failed attempts by reason.
func reasonsText(failures map[l4.Reason]uint64) string {
	reasons := slices.SortedFunc(maps.Keys(failures), func(a, b l4.Reason) int {
		return cmp.Or(cmp.Compare(failures[b], failures[a]), cmp.Compare(a, b))
	})
	var texts []string
	for _, r := range reasons {
		texts = append(texts, fmt.Sprintf("%s %d", r, failures[r]))
	}
	return strings.Join(texts, ", ")
}

// FormatBytes formats n, a uint64 or int64, with a binary unit and about three
// digits.
func FormatBytes(n any) string {
	var f float64
	switch n := n.(type) {
	case uint64:
		f = float64(n)
	case int64:
		f = float64(n)
	}
	units := [...]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	if i == 0 || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
