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

	"culvert/l4"
)

//go:embed status.html
var statusHTML string

// statusTemplate is parsed once; executing it is safe for concurrent use.
var statusTemplate = template.Must(template.New("status").Funcs(template.FuncMap{
	"bytes": formatBytes,
}).Parse(statusHTML))

// statusPage shows listeners, pools and servers to a person.
type statusPage struct {
	src Source
	now func() time.Time
}

// status is what the template shows.
type status struct {
	Version   string
	Time      string
	Draining  bool
	Listeners []listenerRow
	Pools     []poolRows
	KeptBytes int64
	Pipes     int64
	Paused    int64
	Dropped   uint64
}

type listenerRow struct {
	l4.ListenerStats
	Rejected uint64
}

type poolRows struct {
	Name    string
	Servers []serverRow
}

type serverRow struct {
	l4.ServerStats
	Failed  uint64 // attempts
	Reasons string // why, the most frequent first
}

// Setting says what the file says of the server. Whether it answers is in
// the failed attempts: nobody asks it.
func (r serverRow) Setting() string {
	switch {
	case r.Server.Down():
		return "down"
	case r.Server.Backup():
		return "backup"
	}
	return "on"
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
		Version:   p.src.Version,
		Time:      p.now().Format("15:04:05"),
		Pools:     poolsOf(stats.Servers),
		KeptBytes: stats.KeptBytes,
		Pipes:     stats.Pipes,
		Paused:    stats.Paused,
	}
	if p.src.Draining != nil {
		s.Draining = p.src.Draining()
	}
	if p.src.Dropped != nil {
		s.Dropped = p.src.Dropped()
	}
	for _, l := range stats.Listeners {
		row := listenerRow{ListenerStats: l}
		for how, n := range l.Ended {
			if !how.Reason.Relayed() {
				row.Rejected += n
			}
		}
		s.Listeners = append(s.Listeners, row)
	}
	return s
}

// poolsOf groups servers by pool, both in the order given.
func poolsOf(servers []l4.ServerStats) []poolRows {
	var pools []poolRows
	index := map[string]int{}
	for _, v := range servers {
		i, ok := index[v.Pool]
		if !ok {
			i = len(pools)
			index[v.Pool] = i
			pools = append(pools, poolRows{Name: v.Pool})
		}
		row := serverRow{ServerStats: v, Reasons: reasonsText(v.Failures)}
		for _, n := range v.Failures {
			row.Failed += n
		}
		pools[i].Servers = append(pools[i].Servers, row)
	}
	return pools
}

// reasonsText lists how often attempts failed for each reason.
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

// formatBytes writes n with a binary unit and three digits or so.
func formatBytes(n any) string {
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
