package mattermosttest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait on a peer.
const patience = 10 * time.Second

func newNode(t *testing.T, cfg Config) *Handler {
	t.Helper()
	m, err := NewHandler(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// send sends a request straight to a handler. The headers are names and values
// in turn.
func send(t *testing.T, h http.Handler, request, body string, headers ...string) *http.Response {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func decodeBody[T any](t *testing.T, resp *http.Response) (v T) {
	t.Helper()
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		t.Fatalf("body: %v", err)
	}
	return v
}

// refusalID is the id in the body of an API's refusal.
func refusalID(t *testing.T, resp *http.Response) string {
	t.Helper()
	id, _ := decodeBody[map[string]any](t, resp)["id"].(string)
	return id
}

func cookie(resp *http.Response, name string) *http.Cookie {
	for _, c := range resp.Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func check[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// later is a clock that can be moved.
type later struct{ by time.Duration }

func (l *later) now() time.Time { return time.Now().Add(l.by) }
