package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"culvert/balancer"
	"culvert/health"
	"culvert/l4"
)

// servers returns the servers of a pool with two members.
func servers(t *testing.T) []*balancer.Server {
	t.Helper()
	p, err := balancer.New(balancer.Config{Name: "mattermost", Servers: []balancer.ServerConfig{
		{Name: "app-1", Address: "10.0.0.11:443"},
		{Address: "10.0.0.12:443"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return p.Servers()
}

// requested returns the counters of a route that terminates TLS.
func requested() *Requests {
	at := RouteName{":443", "apps.example.com"}
	return &Requests{
		Answered: map[Answer]uint64{{at, 200}: 7, {at, 403}: 2},
		Refused:  map[Denial]uint64{{at, "preauth"}: 2},
		Secrets:  map[Secret]uint64{{at, "current"}: 7},
		Expires:  map[RouteName]time.Time{at: time.Unix(1800000000, 0)},
	}
}

// checked returns the health of two servers, one of them with a certificate
// that expires soon.
func checked(srv []*balancer.Server) *Health {
	at := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	return &Health{
		Checks: []health.Status{
			{Server: srv[0], Up: true, Passed: 5, Failed: 1, Last: health.Result{
				At: at, Took: 2 * time.Millisecond,
				Certificate: &health.Certificate{NotAfter: at.Add(time.Hour), Problem: errors.New("for another name")},
			}},
			{Server: srv[1], Up: true, Last: health.Result{At: at, Took: time.Second, Err: errors.New("status 500")}},
		},
		Changes: map[Change]uint64{{"mattermost", "10.0.0.12:443", "down"}: 2},
	}
}

// source returns a Source with fixed numbers.
func source(t *testing.T) Source {
	srv := servers(t)
	stats := &l4.Stats{
		Listeners: []l4.ListenerStats{{
			Name: ":443", Accepted: 100, Active: 7,
			Ended: map[l4.Ending]uint64{
				{By: l4.Client, Reason: l4.ReasonClosed}:        60,
				{By: l4.Server, Reason: l4.ReasonReset}:         3,
				{By: l4.Culvert, Reason: l4.ReasonHelloTimeout}: 20,
				{By: l4.Culvert, Reason: "malformed"}:           10,
			},
		}},
		Routes: []l4.RouteStats{
			{Listener: ":443", Route: "chat.example.com", Pool: "mattermost", Taken: 70},
			{Listener: ":443", Route: "default", Taken: 5},
		},
		Servers: []l4.ServerStats{
			{Pool: "mattermost", Server: srv[0], Connections: 40, Active: 4, BytesUp: 1 << 20, BytesDown: 5 << 30},
			{Pool: "mattermost", Server: srv[1], Connections: 30, Active: 3, BytesUp: 2048, BytesDown: 4096, Failovers: 2,
				Failures: map[l4.Reason]uint64{l4.ReasonRefused: 3, l4.ReasonConnectTimeout: 1}},
		},
		BufferedBytes: 4096, Pipes: 2, Paused: 1,
	}
	return Source{
		Stats:    func() *l4.Stats { return stats },
		Dropped:  func() uint64 { return 9 },
		Health:   func() *Health { return checked(srv) },
		Requests: requested,
		Version:  "v1.2.3",
		Commit:   "abc",
	}
}

func get(t *testing.T, h http.Handler, method, path string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPathsAndMethods(t *testing.T) {
	tests := []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 200},
		{"HEAD", "/", 200},
		{"GET", "/metrics", 200},
		{"HEAD", "/metrics", 200},
		{"GET", "/healthz", 200},
		{"GET", "/nothing", 404},
		{"GET", "/metrics/", 404},
		{"GET", "//metrics", 404},
		{"GET", "/x/../metrics", 404},
		{"GET", "/Metrics", 404},
		{"GET", "/debug/pprof/", 404},
		{"POST", "/", 405},
		{"PUT", "/metrics", 405},
		{"DELETE", "/healthz", 405},
		{"OPTIONS", "/", 405},
		{"POST", "/nothing", 405},
	}
	h := Handler(source(t))
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			res := get(t, h, tt.method, tt.path)
			if res.StatusCode != tt.want {
				t.Errorf("status %d, want %d", res.StatusCode, tt.want)
			}
			if tt.want == 405 && res.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("Allow: %q", res.Header.Get("Allow"))
			}
			if res.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Error("no nosniff")
			}
		})
	}
}

func TestHealthz(t *testing.T) {
	if got := body(t, get(t, Handler(source(t)), "GET", "/healthz")); got != "ok\n" {
		t.Errorf("got %q", got)
	}
}

func TestHealthzDuringADrain(t *testing.T) {
	src := source(t)
	src.Draining = func() bool { return true }
	res := get(t, Handler(src), "GET", "/healthz")
	if got := body(t, res); res.StatusCode != 503 || got != "draining\n" {
		t.Errorf("got %d %q", res.StatusCode, got)
	}
}

func listen(t *testing.T) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestServesUntilClose(t *testing.T) {
	s := listen(t)
	s.Serve(source(t))
	url := "http://" + s.Addr().String() + "/healthz"
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, res); got != "ok\n" {
		t.Errorf("got %q", got)
	}
	res.Body.Close()
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := client.Get(url); err == nil {
		t.Error("still serving after Close")
	}
}

func TestListenNamesTheAddressInUse(t *testing.T) {
	s := listen(t)
	defer s.Close(context.Background())
	_, err := Listen(s.Addr().String(), nil)
	if err == nil || !strings.Contains(err.Error(), s.Addr().String()) {
		t.Errorf("got %v, want an error with %v", err, s.Addr())
	}
}

func TestCloseWithoutServeReleasesTheAddress(t *testing.T) {
	s := listen(t)
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	again, err := Listen(s.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	again.Close(context.Background())
}

func TestServerHasLimits(t *testing.T) {
	h := newHTTP(source(t))
	if h.ReadHeaderTimeout <= 0 || h.ReadTimeout <= 0 || h.WriteTimeout <= 0 || h.IdleTimeout <= 0 || h.MaxHeaderBytes <= 0 {
		t.Errorf("a timeout or limit is not set: %+v", h)
	}
}
