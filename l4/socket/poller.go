package socket

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags of an event, and of an interest (epoll_ctl(2)).
const (
	In        = unix.EPOLLIN
	Out       = unix.EPOLLOUT
	Pri       = unix.EPOLLPRI
	Error     = unix.EPOLLERR
	Hup       = unix.EPOLLHUP
	RdHup     = unix.EPOLLRDHUP
	Edge      = unix.EPOLLET
	Exclusive = unix.EPOLLEXCLUSIVE
)

// Event says that something happened to a descriptor: Flags, and the Data
// with which it was added.
type Event struct {
	Flags uint32
	Data  uint64
}

// batch is how many events one poll takes at most. A larger batch makes the
// bytes of its last event older, a smaller one costs calls; nginx takes 512
// and HAProxy 200.
const batch = 256

// wakeData marks the Poller's own eventfd.
const wakeData = ^uint64(0)

// Poller waits for events. Wake may be called from anywhere; the rest belongs
// to one goroutine, which need not be locked to a thread.
//
// The epoll descriptor is itself non-blocking and parked in Go's own network
// poller. A goroutine that waits in a blocking epoll_wait instead holds a
// thread that the runtime's monitor keeps taking back, some 3,000 times a
// second, which costs more than the relay.
type Poller struct {
	fd     int
	wake   int
	file   *os.File // keeps the descriptor in Go's poller; never garbage while the Poller lives
	raw    syscall.RawConn
	poll   func(fd uintptr) bool
	armed  time.Time // the deadline that file has; zero: none
	calls  int       // of poll, in one Wait
	n      int
	events [batch]unix.EpollEvent
}

// NewPoller opens a Poller. Close frees it.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	p := &Poller{fd: fd, wake: -1}
	if err := p.init(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Poller) init() (err error) {
	if err := unix.SetNonblock(p.fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	p.file = os.NewFile(uintptr(p.fd), "epoll")
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return err
	}
	if err := p.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("park the epoll descriptor: %w", err) // it would never wait
	}
	p.poll = p.pollOnce
	if p.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	// Edge-triggered, so that the counter need not be read: every write is
	// an edge.
	if e := p.Add(p.wake, In|Edge, wakeData); e != 0 {
		return os.NewSyscallError("epoll_ctl", e)
	}
	return nil
}

// Close frees the Poller's descriptors.
func (p *Poller) Close() {
	if p.file != nil {
		_ = p.file.Close()
	} else {
		Close(p.fd)
	}
	if p.wake >= 0 {
		Close(p.wake)
	}
}

// Add starts watching fd. What is pending already is reported too.
func (p *Poller) Add(fd int, flags uint32, data uint64) Errno {
	return p.control(unix.EPOLL_CTL_ADD, fd, flags, data)
}

// Mod changes what is watched, and reports again what is pending.
func (p *Poller) Mod(fd int, flags uint32, data uint64) Errno {
	return p.control(unix.EPOLL_CTL_MOD, fd, flags, data)
}

// Del stops watching fd. It is needed only for an fd that stays open: closing
// the last descriptor of a socket removes it by itself.
func (p *Poller) Del(fd int) Errno { return p.control(unix.EPOLL_CTL_DEL, fd, 0, 0) }

func (p *Poller) control(op, fd int, flags uint32, data uint64) Errno {
	ev := unix.EpollEvent{Events: flags, Fd: int32(uint32(data)), Pad: int32(uint32(data >> 32))}
	_, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	return e
}

// Wake makes the current or the next Wait return. Safe for concurrent use.
func (p *Poller) Wake() {
	one := [8]byte{1}
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, uintptr(p.wake), uintptr(unsafe.Pointer(&one)), 8)
}

// Poll collects the events that are there now and returns how many; Event
// gives them.
func (p *Poller) Poll() int {
	p.pollOnce(uintptr(p.fd))
	return p.n
}

// Wait waits for events until the deadline (the zero Time: for ever) and
// returns how many there are, 0 when the deadline passed first. parked
// reports whether the goroutine gave up its processor meanwhile.
func (p *Poller) Wait(deadline time.Time) (n int, parked bool) {
	p.arm(deadline)
	p.calls, p.n = 0, 0
	err := p.raw.Read(p.poll)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		p.armed = time.Time{}
		_ = p.file.SetReadDeadline(time.Time{})
		return p.Poll(), true
	}
	return p.n, p.calls > 1
}

// arm sets the file's read deadline, unless it has one that is earlier: a
// wake-up too many is cheaper than moving a timer at every wait.
func (p *Poller) arm(deadline time.Time) {
	if deadline.IsZero() || (!p.armed.IsZero() && !p.armed.After(deadline)) {
		return
	}
	p.armed = deadline
	_ = p.file.SetReadDeadline(deadline)
}

// pollOnce is the callback of RawConn.Read: it must look for events itself,
// or an edge between the last look and the park would be lost.
func (p *Poller) pollOnce(fd uintptr) bool {
	p.calls++
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&p.events[0])), batch, 0, 0, 0)
	if e != 0 {
		n = 0
	}
	p.n = int(n)
	return n != 0
}

// Event returns event i of the last Poll or Wait. woken reports that it is
// Wake's and belongs to no descriptor of the caller.
func (p *Poller) Event(i int) (ev Event, woken bool) {
	raw := &p.events[i]
	data := uint64(uint32(raw.Fd)) | uint64(uint32(raw.Pad))<<32
	return Event{raw.Events, data}, data == wakeData
}
