package terminate

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// sending is the body of a request while it is sent to one server.
type sending struct {
	*body
	agreed  chan struct{} // closed when the server has agreed to get the body; nil: send it at once
	stopped chan struct{} // closed by stop
	sent    chan struct{} // closed when the body is not read any more

	asked bool // the server has sent 100 Continue; used only by the goroutine that reads from it

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

// expects reports whether the client waits for a 100 Continue before it sends
// the body (RFC 9110 section 10.1.1).
func expects(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Expect"), "100-continue") }

// continueTimeout is how long to wait for the server's 100 Continue, which some
// servers never send. It is the default of net/http's Transport.
const continueTimeout = time.Second

var errNotWanted = errors.New("the body is not wanted any more")

// Read implements io.Reader. Behind the end there is only the end: net/http reads
// once more to see that nothing follows, and by then the response may be over and
// the client's body closed.
func (s *sending) Read(b []byte) (int, error) {
	if s.ended.Load() {
		return 0, io.EOF
	}
	if !s.wanted() {
		return 0, errNotWanted
	}
	return s.body.Read(b)
}

// wanted waits until the server agrees to get the body, and marks it as touched.
// It returns false after stop.
func (s *sending) wanted() bool {
	if s.agreed != nil {
		timeout := time.NewTimer(continueTimeout)
		defer timeout.Stop()
		select {
		case <-s.agreed:
		case <-s.stopped:
		case <-timeout.C:
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

// waits reports whether the server has to send a 100 Continue and has not.
func (s *sending) waits() bool { return s != nil && s.agreed != nil && !s.asked }

// agree is called when the server agrees to get the body.
func (s *sending) agree() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agreed != nil && !s.settled {
		s.settled = true
		close(s.agreed)
	}
}

// decline is called for a final response. If the server has not asked for the
// body that it should have asked for, the body is not sent.
func (s *sending) decline() {
	s.mu.Lock()
	asked := s.agreed == nil || s.settled
	s.mu.Unlock()
	if !asked {
		s.stop()
	}
}

// stop prevents further reads of the body. After it returns, touched does not
// change any more.
func (s *sending) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.over = true
		close(s.stopped)
	}
}

// cause returns the error of an exchange that failed with err: the error of the
// client's body if there is one. When the client has gone, net/http cancels the
// request before the Read of the body fails, so cause waits for that.
func (s *sending) cause(err error, gone bool) error {
	if gone && s.touched.Load() {
		timeout := time.NewTimer(bodyErrorWait)
		defer timeout.Stop()
		select {
		case <-s.sent:
		case <-timeout.C:
		}
	}
	if failed := s.failed.Load(); failed != nil {
		return failed
	}
	return err
}

// bodyErrorWait is longer than net/http takes to fail that Read.
const bodyErrorWait = time.Second

// wanting reports whether the server still expects the body.
func (s *sending) wanting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.over
}
