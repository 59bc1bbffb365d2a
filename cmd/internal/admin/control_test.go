package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fakeOperator records the requests that it gets.
type fakeOperator struct{ asked []string }

func (f *fakeOperator) ask(what string) { f.asked = append(f.asked, what) }

func (f *fakeOperator) Report() *Report { return &Report{Version: "v1"} }

func (f *fakeOperator) List(Filter) ([]ConnectionReport, error) {
	return []ConnectionReport{{ID: 1, Start: time.Unix(1, 0)}, {ID: 2, Start: time.Unix(2, 0)}}, nil
}

func (f *fakeOperator) Close(r CloseRequest) (Done, error) {
	if _, err := r.Match(); err != nil {
		return Done{}, err
	}
	f.ask("close")
	return Done{Message: "closed"}, nil
}

func (f *fakeOperator) Drain(r DrainRequest) (Done, error) {
	f.ask("drain " + r.Server)
	return Done{Message: "draining"}, nil
}

func (f *fakeOperator) Undrain(r DrainRequest) (Done, error) {
	f.ask("undrain " + r.Server)
	return Done{Message: "on"}, nil
}

func (f *fakeOperator) Reload() error { f.ask("reload"); return Logged{errors.New("line 7 is wrong")} }

func (f *fakeOperator) Upgrade() error { f.ask("upgrade"); return nil }

// startControl serves op on a socket, and returns its path and the log.
func startControl(t *testing.T, op Operator) (path string, log *strings.Builder) {
	t.Helper()
	path, log = filepath.Join(t.TempDir(), "s"), &strings.Builder{}
	c, err := ListenControl(path, "", nil, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	c.Serve(op)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return path, log
}

// over returns an HTTP client of the socket at path.
func over(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
}

func TestControlRefuses(t *testing.T) {
	tests := []struct {
		name, method, path, body string
		header                   [2]string
		status                   int
		want                     string
	}{
		{"a browser", "POST", "/v1/reload", "", [2]string{"Origin", "http://evil.example"}, 403, "browsers are refused"},
		{"a browser, by another header", "GET", "/v1/status", "", [2]string{"Sec-Fetch-Site", "none"}, 403, "browsers are refused"},
		{"a change by GET", "GET", "/v1/reload", "", [2]string{}, 405, "use POST"},
		{"a query by POST", "POST", "/v1/status", "", [2]string{}, 405, "use GET"},
		{"another path", "GET", "/v1/statusx", "", [2]string{}, 404, "no such path"},
		{"a path below", "GET", "/v1/status/", "", [2]string{}, 404, "no such path"},
		{"a spelling of a path", "GET", "/v1/%73tatus/../status", "", [2]string{}, 404, "no such path"},
		{"an unknown key", "POST", "/v1/drain", `{"servr": "a"}`, [2]string{}, 400, "servr"},
		{"a text for a number", "POST", "/v1/drain", `{"within_seconds": "10m"}`, [2]string{}, 400, `the body: within_seconds: found a string, expected a number"`},
		{"a fraction for a whole number", "POST", "/v1/connections/close", `{"ids": [1.5]}`, [2]string{}, 400, `the body: ids: found a number 1.5, expected a whole number"`},
		{"a parameter that is no number", "GET", "/v1/connections?min_idle_seconds=1d", "", [2]string{}, 400, `min_idle_seconds \"1d\": expected a number"`},
		{"two values", "POST", "/v1/drain", `{"server": "a"} {}`, [2]string{}, 400, "more than one value"},
		{"no value", "POST", "/v1/drain", ``, [2]string{}, 400, "the body"},
		{"a body above the limit", "POST", "/v1/drain", `{"server": "` + strings.Repeat("a", maxBody) + `"}`, [2]string{}, 400, "too large"},
		{"to close everything", "POST", "/v1/connections/close", `{}`, [2]string{}, 400, "say which connections"},
		{"to close none of a list", "POST", "/v1/connections/close", `{"ids": []}`, [2]string{}, 400, "empty list"},
		{"a negative time", "POST", "/v1/connections/close", `{"min_idle_seconds": -1}`, [2]string{}, 400, "from 0"},
		{"a client that is no address", "POST", "/v1/connections/close", `{"client": "chat.example.com"}`, [2]string{}, 400, "expected an IP address"},
		{"an unknown parameter", "GET", "/v1/connections?sever=a", "", [2]string{}, 400, "sever"},
		{"an error of the operator", "POST", "/v1/reload", "{}", [2]string{}, 400, "line 7 is wrong"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			op := &fakeOperator{}
			path, _ := startControl(t, op)
			req, err := http.NewRequest(tt.method, "http://culvert"+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.header[0] != "" {
				req.Header.Set(tt.header[0], tt.header[1])
			}
			res, err := over(path).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if got := body(t, res); res.StatusCode != tt.status || !strings.Contains(got, tt.want) {
				t.Errorf("status %d, %s, want %d and %q", res.StatusCode, got, tt.status, tt.want)
			}
			if len(op.asked) > 0 && tt.want != "line 7 is wrong" {
				t.Errorf("the operator was asked for %v", op.asked)
			}
		})
	}
}

func TestControlCarriesOutAndLogsThePeer(t *testing.T) {
	op := &fakeOperator{}
	path, log := startControl(t, op)
	c := NewClient(path)
	if d, err := c.Drain(DrainRequest{Server: "a"}); err != nil || d.Message != "draining" {
		t.Errorf("drain: %+v, %v", d, err)
	}
	if d, err := c.Undrain("a"); err != nil || d.Message != "on" {
		t.Errorf("undrain: %+v, %v", d, err)
	}
	if _, err := c.Close(CloseRequest{Filter: Filter{IDs: []uint64{7}}}); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := c.Reload(); err == nil || err.Error() != "line 7 is wrong" {
		t.Errorf("reload: %v", err)
	}
	if _, err := c.Upgrade(); err != nil {
		t.Errorf("upgrade: %v", err)
	}
	if got := log.String(); strings.Contains(got, "line 7") || strings.Count(got, "refused=true") != 1 {
		t.Errorf("the log has\n%s\nwant only that the reload was refused: the operator logs the reason", got)
	}
	if got, want := strings.Join(op.asked, ", "), "drain a, undrain a, close, reload, upgrade"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	if r, err := c.Report(); err != nil || r.Version != "v1" {
		t.Errorf("report: %+v, %v", r, err)
	}
	if l, err := c.Connections(Filter{Client: "10.0.0.0/8", MinIdle: 1.5}, 1); err != nil || len(l.Connections) != 1 || l.Connections[0].ID != 2 || l.Total != 2 {
		t.Errorf("connections: %+v, %v, want the newest of two", l, err)
	}
	if got := log.String(); strings.Count(got, "uid=") != 5 || strings.Contains(got, "/v1/status") {
		t.Errorf("the log has\n%s\nwant a line for each change, with the peer's uid", got)
	}
}

func TestControlSocketFile(t *testing.T) {
	path, _ := startControl(t, &fakeOperator{})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, want 0600", info.Mode(), err)
	}
	if _, err := ListenControl(path, "", nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a socket in use was replaced")
	}
	if _, err := ListenControl(path+"2", "no-such-group", nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a group that does not exist was accepted")
	}
	file := path + "3"
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenControl(file, "", nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a file that is not a socket was replaced")
	}
	own, err := user.LookupGroupId(strconv.Itoa(os.Getgid()))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ListenControl(path+"4", own.Name, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if info, err := os.Stat(path + "4"); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("with a group: %v, %v, want 0660", info.Mode(), err)
	}
}
