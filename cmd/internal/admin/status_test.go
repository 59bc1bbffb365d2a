package admin

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"culvert/balancer"
	"culvert/health"
	"culvert/l4"
)

// cells returns the text of a page's table rows, cells separated by |.
func cells(page string) string {
	page = regexp.MustCompile(`</t[dh]>`).ReplaceAllString(page, "|")
	return regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, "")
}

func TestStatusPage(t *testing.T) {
	res := get(t, Handler(source(t)), "GET", "/")
	page := body(t, res)
	text := cells(page)
	for _, want := range []string{
		":443|7|100|30|",
		"Pool mattermost",
		"server|state|last check|active|connections|bytes up|bytes down|failovers|failed attempts|why|",
		"app-1|on|passed in 2ms; certificate: for another name|4|40|1.0 MiB|5.0 GiB|0|0||",
		"10.0.0.12:443|on|status 500|3|30|2.0 KiB|4.0 KiB|2|4|connect_refused 3, connect_timeout 1|",
		"4.0 KiB|2|1|9|",
		"v1.2.3",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	if got := res.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
}

func TestStatusPageLoadsNothing(t *testing.T) {
	page := body(t, get(t, Handler(source(t)), "GET", "/"))
	for _, not := range []string{"<script", "src=", "<link", "@import", "url(", "//"} {
		if strings.Contains(strings.TrimPrefix(page, "<!DOCTYPE html>"), not) {
			t.Errorf("the page contains %q", not)
		}
	}
	if !strings.Contains(page, `http-equiv="refresh" content="2"`) {
		t.Error("the page does not refresh")
	}
}

func TestStatusPageShowsTheDrain(t *testing.T) {
	src := source(t)
	for _, draining := range []bool{false, true} {
		src.Draining = func() bool { return draining }
		if got := strings.Contains(cells(body(t, get(t, Handler(src), "GET", "/"))), "culvert draining"); got != draining {
			t.Errorf("the heading says draining: %t, want %t", got, draining)
		}
	}
}

func TestReasonsText(t *testing.T) {
	got := reasonsText(map[l4.Reason]uint64{"b": 1, "a": 1, "c": 7})
	if want := "c 7, a 1, b 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStatusPageEscapesNames(t *testing.T) {
	stats := &l4.Stats{Listeners: []l4.ListenerStats{{Name: "<b>&"}}}
	page := body(t, get(t, Handler(Source{Stats: func() *l4.Stats { return stats }}), "GET", "/"))
	if strings.Contains(page, "<b>") || !strings.Contains(page, "&lt;b&gt;&amp;") {
		t.Error("a name is not escaped")
	}
}

func TestStatusPageShowsBackups(t *testing.T) {
	p, err := balancer.New(balancer.Config{Name: "p", Servers: []balancer.ServerConfig{
		{Address: "10.0.0.1:443"}, {Address: "10.0.0.2:443", Backup: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	stats := &l4.Stats{Servers: []l4.ServerStats{{Pool: "p", Server: p.Servers()[1]}}}
	if got := cells(body(t, get(t, Handler(Source{Stats: func() *l4.Stats { return stats }}), "GET", "/"))); !strings.Contains(got, "10.0.0.2:443|backup|") {
		t.Error(got)
	}
}

func TestStatusPageShowsServersThatAreDown(t *testing.T) {
	src := source(t)
	src.Stats().Servers[1].Server.Set(balancer.Configured, true, 0)
	if got := cells(body(t, get(t, Handler(src), "GET", "/"))); !strings.Contains(got, "10.0.0.12:443|down in the file|") {
		t.Error(got)
	}
}

func TestStatusPageSaysWhyAServerIsOut(t *testing.T) {
	src := source(t)
	srv := src.Stats().Servers[1].Server
	srv.Set(balancer.Ejected, true, 0)
	h := src.Health()
	h.Ejections = map[*balancer.Server]health.Ejected{srv: {Server: srv, For: 8 * time.Second, Why: "connect_refused"}}
	src.Health = func() *Health { return h }
	if got := cells(body(t, get(t, Handler(src), "GET", "/"))); !strings.Contains(got, "10.0.0.12:443|ejected|status 500; ejected for 8s more: connect_refused|") {
		t.Error(got)
	}
	srv.Set(balancer.Ejected, false, 0)
	srv.Set(balancer.Unresolved, true, 0)
	if got := cells(body(t, get(t, Handler(src), "GET", "/"))); !strings.Contains(got, "10.0.0.12:443|unresolved|") {
		t.Error(got)
	}
}

func TestFormatBytes(t *testing.T) {
	tests := []struct {
		in   any
		want string
	}{
		{uint64(0), "0 B"},
		{uint64(1023), "1023 B"},
		{uint64(1024), "1.0 KiB"},
		{int64(1536), "1.5 KiB"},
		{uint64(200 << 20), "200 MiB"},
		{^uint64(0), "16.0 EiB"},
	}
	for _, tt := range tests {
		if got := FormatBytes(tt.in); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.in, got, tt.want)
		}
	}
}
