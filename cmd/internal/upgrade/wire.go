// Package upgrade hands the listeners and the live connections of a process to
// the one that takes its place, over a unix socket. The old process starts the
// new one and keeps everything, held still, until the new one has it all:
// whichever of them fails before that, the other goes on.
//
//	old                                   new
//	starts it  ------------------------>  reads its configuration
//	           <------------------------  Hello: the version and format it speaks
//	Offer: the same  ------------------>  opens its listeners, these among them
//	           <------------------------  Ready: which listeners it keeps
//	freezes
//	Batch ...  ------------------------>  takes connections
//	           <------------------------  an acknowledgement for each
//	Done       ------------------------>
//	           <------------------------  Taken
//	Commit     ------------------------>
//	           <------------------------  Serving, and then it serves
//	ends
//
// Processes that speak different versions or formats refuse each other with the
// first message that each receives, before anything is held still.
package upgrade

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Version is the protocol: which messages there are, and their order. What is
// in them is compared by format.
const Version = 2

// kind is the type of a message. A value never changes its meaning.
type kind uint16

const (
	kindHello   kind = 1
	kindOffer   kind = 2
	kindReady   kind = 3
	kindFailed  kind = 4
	kindBatch   kind = 5
	kindGot     kind = 6
	kindDone    kind = 7
	kindTaken   kind = 8
	kindCommit  kind = 9
	kindServing kind = 10
)

var kindNames = [...]string{"", "hello", "offer", "ready", "failed", "batch", "got", "done", "taken", "commit", "serving"}

func (k kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("message %d", uint16(k))
}

// Bounds of one message.
const (
	headerSize = 8
	maxFDs     = 253      // SCM_MAX_FD, unix(7)
	maxPayload = 64 << 20 // one connection with two full pipes is 2 MiB
)

// link is one end of the socket between the two processes. One goroutine at a
// time uses it.
type link struct{ conn *net.UnixConn }

// newLink makes a link of a descriptor, which it takes. The peer must run as
// the same user, or as root.
func newLink(f *os.File) (*link, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, fmt.Errorf("descriptor %d is no unix socket", f.Fd())
	}
	if err := checkPeer(u); err != nil {
		_ = u.Close()
		return nil, err
	}
	return &link{u}, nil
}

func checkPeer(u *net.UnixConn) error {
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var cred *syscall.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("identify the other process: %w", err)
	}
	if uid := os.Geteuid(); int(cred.Uid) != uid && cred.Uid != 0 {
		return fmt.Errorf("the other process runs as user %d, this one as %d", cred.Uid, uid)
	}
	return nil
}

// within bounds what follows.
func (l *link) within(d time.Duration) { _ = l.conn.SetDeadline(time.Now().Add(d)) }

// send writes a message. payload is what gob can encode, or nil.
func (l *link) send(k kind, payload any, fds ...int) error {
	var body bytes.Buffer
	if payload != nil {
		if err := gob.NewEncoder(&body).Encode(payload); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	if body.Len() > maxPayload || len(fds) > maxFDs {
		return fmt.Errorf("%s: %d bytes and %d descriptors are too many", k, body.Len(), len(fds))
	}
	err := l.sendHeader(k, body.Len(), fds...)
	if err == nil && body.Len() > 0 {
		_, err = l.conn.Write(body.Bytes())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", k, err)
	}
	return nil
}

// sendHeader announces size bytes. The descriptors go with it.
func (l *link) sendHeader(k kind, size int, fds ...int) error {
	var header [headerSize]byte
	binary.BigEndian.PutUint32(header[:], uint32(size))
	binary.BigEndian.PutUint16(header[4:], uint16(k))
	binary.BigEndian.PutUint16(header[6:], uint16(len(fds)))
	var rights []byte
	if len(fds) > 0 {
		rights = syscall.UnixRights(fds...)
	}
	_, _, err := l.conn.WriteMsgUnix(header[:], rights, nil)
	return err
}

// A message is what receive returns. The descriptors are the caller's.
type message struct {
	kind kind
	body []byte
	fds  []int
}

// receive reads the next message. io.EOF means that the other process is gone.
func (l *link) receive() (*message, error) {
	header, rights := make([]byte, headerSize), make([]byte, syscall.CmsgSpace(4*maxFDs))
	n, oob, flags, _, err := l.conn.ReadMsgUnix(header, rights)
	if err != nil {
		return nil, gone(err)
	}
	fds, err := descriptors(rights[:oob])
	if err == nil && flags&syscall.MSG_CTRUNC != 0 {
		err = errors.New("descriptors of a message are lost: this process may have no more (ulimit -n)")
	}
	m := &message{fds: fds}
	if err == nil {
		err = l.finish(m, header, n)
	}
	if err != nil {
		closeAll(fds)
		return nil, err
	}
	return m, nil
}

// finish reads the rest of m, n bytes of whose header are there.
func (l *link) finish(m *message, header []byte, n int) error {
	if _, err := io.ReadFull(l.conn, header[n:]); err != nil {
		return gone(err)
	}
	size := binary.BigEndian.Uint32(header)
	m.kind = kind(binary.BigEndian.Uint16(header[4:]))
	if m.kind == 0 || int(m.kind) >= len(kindNames) {
		return fmt.Errorf("%s: no such message", m.kind)
	}
	if size > maxPayload {
		return fmt.Errorf("%s: %d bytes are too many", m.kind, size)
	}
	if want := int(binary.BigEndian.Uint16(header[6:])); want != len(m.fds) {
		return fmt.Errorf("%s: %d descriptors came with it, not %d", m.kind, len(m.fds), want)
	}
	m.body = make([]byte, size)
	_, err := io.ReadFull(l.conn, m.body)
	return gone(err)
}

func gone(err error) error {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return io.EOF
	}
	return err
}

func descriptors(rights []byte) (fds []int, err error) {
	messages, err := syscall.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		some, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			return fds, err
		}
		fds = append(fds, some...)
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = syscall.Close(fd)
	}
}

// A failure is why the new process cannot take over, in its own words.
type failure string

func (f failure) Error() string { return "the new process: " + string(f) }

// expect receives a message of one kind and decodes it into payload. It
// returns the descriptors that came with an offer; nothing else may have any.
func (l *link) expect(k kind, payload any) (fds []int, err error) {
	m, err := l.receive()
	if err != nil {
		return nil, err
	}
	if err = m.is(k); err == nil && payload != nil {
		err = m.decode(payload)
	}
	if err != nil || k != kindOffer {
		closeAll(m.fds)
		return nil, err
	}
	return m.fds, nil
}

// is returns an error when m is of another kind than k.
func (m *message) is(k kind) error {
	if m.kind == k {
		return nil
	}
	if m.kind == kindFailed {
		var why failure
		_ = m.decode(&why)
		return why
	}
	return fmt.Errorf("%s, expected %s", m.kind, k)
}

func (m *message) decode(payload any) error {
	if err := gob.NewDecoder(bytes.NewReader(m.body)).Decode(payload); err != nil {
		return fmt.Errorf("%s: %w", m.kind, err)
	}
	return nil
}
