package load

import (
	"context"
	"crypto/tls"
	"errors"
	"time"
)

// NewRequests opens connections over TLS and makes requests on them, as fast
// as they are answered. A connection that breaks is reopened.
func NewRequests(ctx context.Context, t Target, o RequestOptions) (Load, error) {
	c := &client{Target: t}
	if o.Streams > 0 {
		return newMultiplexed(ctx, c, o)
	}
	r := &requests{client: c, opts: o, cfg: c.tlsClient("http/1.1"), crowd: newCrowd(o.Conns), request: o.request(t.ServerName)}
	var err error
	r.sessions, err = openEach(o.Conns, func() (*session, error) { return r.open(ctx) })
	return r, err
}

// requests are sessions with one request at a time each.
type requests struct {
	client   *client
	opts     RequestOptions
	cfg      *tls.Config
	request  []byte
	sessions []*session // nil: broken
	crowd    crowd
}

func (r *requests) Close() { closeAll(r.sessions) }

// open makes a session and one request, so that a proxy has a connection to the
// server.
func (r *requests) open(ctx context.Context) (*session, error) {
	s, err := r.client.session(ctx, r.cfg)
	if err != nil {
		return nil, err
	}
	if err := s.ask(r.request, r.opts.Response); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (r *requests) Run(ctx context.Context) (Outcome, error) {
	late, cancel := graced(ctx)
	defer cancel()
	out := r.crowd.run(ctx, func(i int, t *tally) {
		for ctx.Err() == nil {
			if r.sessions[i] == nil && !r.reopen(late, i, t) {
				continue
			}
			r.use(ctx, late, i, t)
		}
	})
	out.Bytes = r.opts.moved(out.Count)
	return out, nil
}

func (r *requests) reopen(ctx context.Context, i int, t *tally) bool {
	s, err := r.open(ctx)
	if err != nil {
		t.failed(ctx, err)
		pause(ctx, errorPause)
		return false
	}
	r.sessions[i] = s
	return true
}

// use makes requests on session i until ctx ends or it breaks.
func (r *requests) use(ctx, late context.Context, i int, t *tally) {
	s := r.sessions[i]
	release := interrupt(late, s)
	defer release()
	for last := time.Now(); ctx.Err() == nil; {
		if err := s.ask(r.request, r.opts.Response); err != nil {
			t.failed(late, err)
			s.Close()
			r.sessions[i] = nil
			return
		}
		now := time.Now()
		t.done(now.Sub(last))
		last = now
	}
}

// NewVisits is a closed loop of connections over TLS, o.Conns at a time: a
// handshake, one request, EOF. A latency is from the start of connecting
// to the end of the stream. With Resume each session is resumed from the one
// before it, and a full handshake is an error.
func NewVisits(t Target, o RequestOptions) Load {
	c := &client{Target: t}
	v := &visits{client: c, opts: o, crowd: newCrowd(o.Conns), request: o.request(t.ServerName, field{"Connection", "close"})}
	for range o.Conns {
		cfg := c.tlsClient("http/1.1")
		if o.Resume { // for each worker: a ticket should be used only once (RFC 8446, appendix C.4)
			cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
		v.workers = append(v.workers, visitor{cfg: cfg})
	}
	return v
}

type visits struct {
	client  *client
	opts    RequestOptions
	request []byte
	workers []visitor
	crowd   crowd
}

// visitor is one worker.
type visitor struct {
	cfg     *tls.Config
	visited bool // it has a session to resume
}

func (v *visits) Close() {}

func (v *visits) Run(ctx context.Context) (Outcome, error) {
	late, cancel := graced(ctx)
	defer cancel()
	return v.crowd.run(ctx, func(i int, t *tally) {
		for ctx.Err() == nil {
			start := time.Now()
			if err := v.visit(late, &v.workers[i]); err != nil {
				t.failed(late, err)
				pause(ctx, errorPause)
				continue
			}
			t.done(time.Since(start))
		}
	}), nil
}

var errFull = errors.New("the session was not resumed")

func (v *visits) visit(ctx context.Context, w *visitor) error {
	s, err := v.client.session(ctx, w.cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.ask(v.request, v.opts.Response); err != nil {
		return err
	}
	// The proxy closes first; otherwise ports of clients would be in TIME_WAIT
	// for a minute.
	if err := wantEnd(s.in.R, make([]byte, 1), 0); err != nil {
		return err
	}
	if v.opts.Resume && w.visited && !s.ConnectionState().DidResume {
		return errFull
	}
	w.visited = true
	return nil
}
