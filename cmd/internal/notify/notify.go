// Package notify tells a command or a web address what happens to servers. It
// never makes anybody wait: what comes faster than it can be told is dropped,
// counted and logged.
package notify

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// An Event is a server that went up or down.
type Event struct {
	Time    time.Time `json:"time"`
	Event   string    `json:"event"` // one of the kinds below
	Pool    string    `json:"pool"`
	Server  string    `json:"server"`
	Address string    `json:"address"`
	Reason  string    `json:"reason,omitempty"` // of a failure
}

// The kinds of events.
const (
	Down       = "down"       // its checks fail
	Up         = "up"         // they pass again
	Ejected    = "ejected"    // connections to it fail
	Readmitted = "readmitted" // its ejection is over
	Drained    = "drained"    // an operator took it out of service
	Undrained  = "undrained"  // and put it back
)

// Config says whom to tell; an empty field tells nobody.
type Config struct {
	Command []string // a program and its arguments: the event is JSON on its standard input
	Webhook string   // an http or https URL: the event is the JSON body of a POST
}

// Equal reports whether c and d tell the same.
func (c Config) Equal(d Config) bool {
	return slices.Equal(c.Command, d.Command) && c.Webhook == d.Webhook
}

// Limits of telling.
const (
	backlog   = 256
	limit     = 10 * time.Second // of one command or request
	mostNoise = 1 << 10          // of a command's output, in the log
)

// A Teller tells of events, one after the other.
type Teller struct {
	cfg    Config
	log    *slog.Logger
	events chan Event
	stop   context.CancelFunc
	done   sync.WaitGroup
	client http.Client
}

// Start begins to tell. With nobody to tell it returns nil, which is a Teller
// too.
func Start(cfg Config, log *slog.Logger) *Teller {
	if len(cfg.Command) == 0 && cfg.Webhook == "" {
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	t := &Teller{cfg: cfg, log: log, events: make(chan Event, backlog), stop: stop}
	t.client.Timeout = limit
	t.done.Go(func() { t.run(ctx) })
	return t
}

// Tell queues e. It may be called from any goroutine and returns at once.
func (t *Teller) Tell(e Event) {
	if t == nil {
		return
	}
	select {
	case t.events <- e:
	default:
		t.log.Warn("notification dropped, there are too many", "event", e.Event, "server", e.Server)
	}
}

// Close gives up what is queued and ends a command or request under way.
func (t *Teller) Close() {
	if t != nil {
		t.stop()
		t.done.Wait()
	}
}

func (t *Teller) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-t.events:
			if err := t.tell(ctx, e); err != nil && ctx.Err() == nil {
				t.log.Warn("notification failed", "event", e.Event, "server", e.Server, "error", err)
			}
		}
	}
}

func (t *Teller) tell(ctx context.Context, e Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	failed, also := t.command(ctx, e, body), t.webhook(ctx, body)
	if failed != nil && also != nil {
		return fmt.Errorf("%w; %w", failed, also)
	}
	return cmp.Or(failed, also)
}

func (t *Teller) command(ctx context.Context, e Event, body []byte) error {
	if len(t.cfg.Command) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.cfg.Command[0], t.cfg.Command[1:]...)
	cmd.WaitDelay = time.Second // for children that keep its output open
	cmd.Stdin = bytes.NewReader(body)
	cmd.Env = append(os.Environ(), "CULVERT_EVENT="+e.Event, "CULVERT_POOL="+e.Pool, "CULVERT_SERVER="+e.Server,
		"CULVERT_ADDRESS="+e.Address, "CULVERT_REASON="+e.Reason)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	err = fmt.Errorf("command %s: %w", t.cfg.Command[0], err)
	if line := firstLine(out); line != "" {
		err = fmt.Errorf("%w: %s", err, line)
	}
	return err
}

func firstLine(out []byte) string {
	line, _, _ := strings.Cut(string(out[:min(len(out), mostNoise)]), "\n")
	return line
}

func (t *Teller) webhook(ctx context.Context, body []byte) error {
	if t.cfg.Webhook == "" {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.cfg.Webhook, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := t.client.Do(req)
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, mostNoise)
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("webhook: status %s", res.Status)
	}
	return nil
}
