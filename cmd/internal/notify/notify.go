// Package notify sends events of servers, such as up and down, to a command or
// a webhook. It never blocks its callers: when events come faster than they can
// be sent they are dropped, and each drop is logged.
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
	Down       = "down"       // its health checks fail
	Up         = "up"         // its health checks pass again
	Ejected    = "ejected"    // connections to it fail
	Readmitted = "readmitted" // its ejection is over
	Drained    = "drained"    // an operator took it out of service
	Undrained  = "undrained"  // an operator put it back into service
)

// Config is the receivers of events. An empty field disables its receiver.
type Config struct {
	Command []string // a program and its arguments, run with the event as JSON on standard input
	Webhook string   // an http or https URL, which gets the event as the JSON body of a POST
}

// Equal reports whether c and d have the same receivers.
func (c Config) Equal(d Config) bool {
	return slices.Equal(c.Command, d.Command) && c.Webhook == d.Webhook
}

// Limits of sending.
const (
	backlog   = 256              // queued events
	limit     = 10 * time.Second // of one command or request
	maxOutput = 1 << 10          // bytes of a command's output in the log, and of a response that are read
)

// A Notifier sends events, one after the other. A nil Notifier is valid and
// discards events.
type Notifier struct {
	cfg    Config
	log    *slog.Logger
	events chan Event
	stop   context.CancelFunc
	done   sync.WaitGroup
	client http.Client
}

// Start starts a Notifier, which the caller closes. It returns nil if cfg has
// no receiver.
func Start(cfg Config, log *slog.Logger) *Notifier {
	if len(cfg.Command) == 0 && cfg.Webhook == "" {
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	t := &Notifier{cfg: cfg, log: log, events: make(chan Event, backlog), stop: stop}
	t.client.Timeout = limit
	t.done.Go(func() { t.run(ctx) })
	return t
}

// Send queues e, or drops it when the queue is full. It may be called from any
// goroutine and never blocks.
func (t *Notifier) Send(e Event) {
	if t == nil {
		return
	}
	select {
	case t.events <- e:
	default:
		t.log.Warn("notification dropped: the queue is full", "event", e.Event, "server", e.Server)
	}
}

// Close discards queued events, cancels a running command or request, and waits
// for it to end.
func (t *Notifier) Close() {
	if t != nil {
		t.stop()
		t.done.Wait()
	}
}

func (t *Notifier) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-t.events:
			if err := t.send(ctx, e); err != nil && ctx.Err() == nil {
				t.log.Warn("notification failed", "event", e.Event, "server", e.Server, "error", err)
			}
		}
	}
}

func (t *Notifier) send(ctx context.Context, e Event) error {
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

func (t *Notifier) command(ctx context.Context, e Event, body []byte) error {
	if len(t.cfg.Command) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.cfg.Command[0], t.cfg.Command[1:]...)
	cmd.WaitDelay = time.Second // its children may keep the output open
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
	line, _, _ := strings.Cut(string(out[:min(len(out), maxOutput)]), "\n")
	return line
}

func (t *Notifier) webhook(ctx context.Context, body []byte) error {
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
	_, _ = io.CopyN(io.Discard, res.Body, maxOutput)
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("webhook: status %s", res.Status)
	}
	return nil
}
