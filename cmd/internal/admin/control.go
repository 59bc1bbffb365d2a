package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"culvert/l4/socket"
)

// Operator carries out the requests on the control socket. Its methods must be
// safe for concurrent use. The text of an error is sent to the client.
type Operator interface {
	Report() *Report
	List(Filter) ([]ConnectionReport, error)
	Close(CloseRequest) (Done, error)
	Drain(DrainRequest) (Done, error)
	Undrain(DrainRequest) (Done, error)
	Reload() error
	Upgrade() error
}

// Logged is an error of an Operator that is already in the log.
type Logged struct{ Err error }

func (l Logged) Error() string { return l.Err.Error() }

// Unwrap returns the error.
func (l Logged) Unwrap() error { return l.Err }

// Limits of the control socket.
const (
	maxBody = 1 << 20

	// An upgrade waits for the new process to start. Closing connections at a
	// pace continues after the answer.
	controlTimeout = time.Minute
)

// Control is the control socket.
type Control struct {
	http   *http.Server
	socket *net.UnixListener
	done   chan error
	log    *slog.Logger
}

// maskMu guards the process's umask.
var maskMu sync.Mutex

// ListenControl opens the socket at path for the process's own user, and for
// the members of group if it is not "". A socket file left by a process that
// has ended is replaced. If inherited is not nil, ListenControl uses it
// instead, as a listening socket that another process opened at path, and
// closes it.
func ListenControl(path, group string, inherited *os.File, log *slog.Logger) (*Control, error) {
	ln, err := openControl(path, group, inherited)
	if err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	return &Control{socket: ln, done: make(chan error, 1), log: log}, nil
}

func openControl(path, group string, inherited *os.File) (*net.UnixListener, error) {
	gid, mode := -1, os.FileMode(0o600)
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, err
		}
		gid, _ = strconv.Atoi(g.Gid)
		mode = 0o660
	}
	if inherited == nil {
		a, err := socket.Unix(path)
		if err == nil {
			err = socket.RemoveStale(a)
		}
		if err != nil {
			return nil, err
		}
	}
	ln, err := listenPrivately(path, inherited)
	if err != nil {
		return nil, err
	}
	if gid >= 0 {
		err = os.Chown(path, -1, gid)
	}
	if err = errors.Join(err, os.Chmod(path, mode)); err != nil {
		_ = ln.Close()
		return nil, err
	}
	u := ln.(*net.UnixListener)
	u.SetUnlinkOnClose(true) // also of an inherited one
	return u, nil
}

// listenPrivately opens the socket with mode 0600, so that no other user can
// connect before the final mode is set.
func listenPrivately(path string, inherited *os.File) (net.Listener, error) {
	maskMu.Lock()
	defer maskMu.Unlock()
	defer syscall.Umask(syscall.Umask(0o177))
	return open("unix", path, inherited)
}

// Serve starts to answer requests. It does not block, and must be called at
// most once.
func (c *Control) Serve(op Operator) {
	c.http = &http.Server{
		Handler:           limitRequests(maxRequests, c.handler(op)),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      controlTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
		ConnContext:       withPeer,
	}
	go func() { c.done <- c.http.Serve(netutil.LimitListener(peerListener{c.socket}, maxConnections)) }()
}

// File returns a duplicate descriptor of the socket for a new process. The
// caller closes it.
func (c *Control) File() (*os.File, error) { return c.socket.File() }

// Keep makes Close leave the socket file in place, because another process
// listens on it.
func (c *Control) Keep() { c.socket.SetUnlinkOnClose(false) }

// Close stops accepting and waits for requests in progress. When ctx is done
// first it closes their connections and returns ctx's error.
func (c *Control) Close(ctx context.Context) error {
	if c.http == nil {
		return c.socket.Close()
	}
	return closeHTTP(ctx, c.http, c.done)
}

// A call carries out a request to one path and returns the answer.
type call func(*http.Request) (any, error)

func (c *Control) handler(op Operator) http.HandlerFunc {
	read := map[string]call{
		pathStatus:      func(*http.Request) (any, error) { return op.Report(), nil },
		pathConnections: func(r *http.Request) (any, error) { return list(op, r) },
	}
	change := map[string]call{
		pathClose:   func(r *http.Request) (any, error) { return with(r, closer(op)) },
		pathDrain:   func(r *http.Request) (any, error) { return with(r, op.Drain) },
		pathUndrain: func(r *http.Request) (any, error) { return with(r, op.Undrain) },
		pathReload:  func(*http.Request) (any, error) { return Done{Message: "reloaded"}, op.Reload() },
		pathUpgrade: func(*http.Request) (any, error) { return Done{Message: "upgraded"}, op.Upgrade() },
	}
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		f, reads := read[r.URL.Path]
		g, changes := change[r.URL.Path]
		switch {
		case r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "":
			answer(w, http.StatusForbidden, Failure{"requests of browsers are refused"})
		case !reads && !changes:
			answer(w, http.StatusNotFound, Failure{"no such path: " + r.URL.Path})
		case reads && r.Method != http.MethodGet:
			w.Header().Set("Allow", http.MethodGet)
			answer(w, http.StatusMethodNotAllowed, Failure{"use GET"})
		case changes && r.Method != http.MethodPost:
			w.Header().Set("Allow", http.MethodPost)
			answer(w, http.StatusMethodNotAllowed, Failure{"use POST"})
		case changes:
			c.audited(w, r, g)
		default:
			reply(w, r, f)
		}
	}
}

// audited carries out a change and logs it with the peer's user and process.
func (c *Control) audited(w http.ResponseWriter, r *http.Request, f call) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		answer(w, http.StatusBadRequest, Failure{err.Error()})
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), bodyKey{}, body))
	err = reply(w, r, f)
	attrs := []any{"request", r.URL.Path, "body", string(body)}
	if cred, _ := r.Context().Value(peerKey{}).(*syscall.Ucred); cred != nil {
		attrs = append(attrs, "uid", cred.Uid, "peer_pid", cred.Pid)
	}
	switch logged := (Logged{}); {
	case errors.As(err, &logged):
		attrs = append(attrs, "refused", true)
	case err != nil:
		attrs = append(attrs, "error", err)
	}
	c.log.Info("admin socket", attrs...)
}

type bodyKey struct{}

// with calls f with the decoded body.
func with[T any](r *http.Request, f func(T) (Done, error)) (any, error) {
	var v T
	body, _ := r.Context().Value(bodyKey{}).([]byte)
	if err := decodeStrictly(body, &v); err != nil {
		return nil, err
	}
	return f(v)
}

// reply answers with the result of f.
func reply(w http.ResponseWriter, r *http.Request, f call) error {
	v, err := f(r)
	if err != nil {
		answer(w, http.StatusBadRequest, Failure{err.Error()})
		return err
	}
	answer(w, http.StatusOK, v)
	return nil
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v)
}
