package terminate

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
)

// sending is a request's body on its way to one server.
type sending struct {
	*body
	agreed  chan struct{} // closed when the server wants it; nil: it is not asked
	stopped chan struct{} // closed by stop
	sent    chan struct{} // closed when nobody reads any more

	asked bool // the server has; of the goroutine that reads from it

	mu      sync.Mutex
	over    bool
	settled bool // agreed is closed
}

func newSending(b *body, asks bool) *sending {
	s := &sending{body: b, stopped: make(chan struct{}), sent: make(chan struct{})}
	if asks {
		s.agreed = make(chan struct{})
	}
	return s
}

// expects reports whether a client waits for its body to be asked for
// (RFC 9110 section 10.1.1).
func expects(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Expect"), "100-continue") }

// unasked is how long a server that does not ask for a body is waited for; it
// may know nothing of that. It is what net/http's Transport has by default.
const unasked = time.Second

var errNotWanted = errors.New("the body is not wanted any more")

// Read is io.Reader's.
func (s *sending) Read(b []byte) (int, error) {
	if !s.wanted() {
		return 0, errNotWanted
	}
	return s.body.Read(b)
}

// wanted waits until the server wants the body. From then on it is touched.
func (s *sending) wanted() bool {
	if s.agreed != nil {
		patience := time.NewTimer(unasked)
		defer patience.Stop()
		select {
		case <-s.agreed:
		case <-s.stopped:
		case <-patience.C:
			s.agree()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.touched.Store(true)
	}
	return !s.over
}

// waits reports whether s is to be asked for by the server, which has not.
func (s *sending) waits() bool { return s != nil && s.agreed != nil && !s.asked }

// agree is the server's word that it wants the body.
func (s *sending) agree() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agreed != nil && !s.settled {
		s.settled = true
		close(s.agreed)
	}
}

// decline is the server's answer without having asked for the body: it is not
// sent, if it was to be asked for.
func (s *sending) decline() {
	s.mu.Lock()
	asked := s.agreed == nil || s.settled
	s.mu.Unlock()
	if !asked {
		s.stop()
	}
}

// stop keeps the body from being read further. When it returns the body is
// touched, or will not be.
func (s *sending) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.over = true
		close(s.stopped)
	}
}

// why is the error of an exchange that failed: the client's fault, if it is
// one. When a client has gone net/http tells everybody before it tells the one
// who reads; hence the wait.
func (s *sending) why(err error, gone bool) error {
	if gone && s.touched.Load() {
		patience := time.NewTimer(tellTime)
		defer patience.Stop()
		select {
		case <-s.sent:
		case <-patience.C:
		}
	}
	if failed := s.failed.Load(); failed != nil {
		return failed
	}
	return err
}

// tellTime is more than net/http takes for that.
const tellTime = time.Second

// wanting reports whether a server still expects the body.
func (s *sending) wanting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.over
}
