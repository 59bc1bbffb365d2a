package notify

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var event = Event{Time: time.Unix(1700000000, 0).UTC(), Event: Down, Pool: "chat", Server: "chat-1", Address: "10.0.0.1:443", Reason: "refused"}

const eventJSON = `{"time":"2023-11-14T22:13:20Z","event":"down","pool":"chat","server":"chat-1","address":"10.0.0.1:443","reason":"refused"}`

// logged is a log whose channel some receives a value for each write.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
	some chan struct{}
}

func newLogged() (*logged, *slog.Logger) {
	l := &logged{some: make(chan struct{}, 1000)}
	return l, slog.New(slog.NewTextHandler(l, nil))
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.some <- struct{}{}
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestWebhookGetsTheEvent(t *testing.T) {
	got := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r.Method + " " + r.Header.Get("Content-Type") + " " + string(b)
	}))
	defer s.Close()
	_, log := newLogged()
	n := Start(Config{Webhook: s.URL}, log)
	defer n.Close()
	n.Send(event)
	if g := <-got; g != "POST application/json "+eventJSON {
		t.Errorf("got %s", g)
	}
}

func TestCommandGetsTheEvent(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "out")
	_, log := newLogged()
	n := Start(Config{Command: []string{"sh", "-c", `{ cat; echo; echo "$CULVERT_EVENT $CULVERT_SERVER $CULVERT_REASON $1"; } > "$0.part" && mv "$0.part" "$0"`, fifo, "two words"}}, log)
	defer n.Close()
	n.Send(event)
	deadline := time.Now().Add(20 * time.Second)
	for {
		b, err := os.ReadFile(fifo)
		if err == nil {
			if want := eventJSON + "\ndown chat-1 refused two words\n"; string(b) != want {
				t.Errorf("got %s, want %s", b, want)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestFailuresAreLogged(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	for want, cfg := range map[string]Config{
		"status 404":                  {Webhook: s.URL},
		"no such file":                {Command: []string{"/nonexistent"}},
		"exit status 3: it is broken": {Command: []string{"sh", "-c", "echo it is broken; echo more; exit 3"}},
		"no such file or directory; webhook: status 404": {Command: []string{"/nonexistent"}, Webhook: s.URL},
	} {
		out, log := newLogged()
		n := Start(cfg, log)
		n.Send(event)
		<-out.some
		n.Close()
		if got := out.String(); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestSendDoesNotWaitForASlowReceiver(t *testing.T) {
	begun, release := make(chan bool, 1), make(chan bool)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		begun <- true
		<-release
	}))
	defer s.Close()
	defer close(release)
	out, log := newLogged()
	n := Start(Config{Webhook: s.URL}, log)
	n.Send(event)
	<-begun
	for range backlog + 2 {
		n.Send(event)
	}
	if got := strings.Count(out.String(), "dropped"); got != 2 {
		t.Errorf("%d dropped, want 2", got)
	}
	n.Close() // cancels the request in progress
}

func TestNoReceiverGivesANotifierThatDiscards(t *testing.T) {
	n := Start(Config{}, slog.Default())
	n.Send(event)
	n.Close()
}

func TestEventIsJSON(t *testing.T) {
	b, err := json.Marshal(event)
	if err != nil || string(b) != eventJSON {
		t.Errorf("%s, %v", b, err)
	}
}
