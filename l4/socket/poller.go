package socket

import (
	"errors"
	"fmt"
	"os"
	"runtime"
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
// It waits in two ways. While events are seldom the goroutine parks: Go's own
// network poller watches for it, which costs nothing until something happens
// and the most when it does. While they come every moment it is eager, and
// waits in epoll_wait itself, for a moment only: it keeps its processor
// meanwhile, and other goroutines need one more. (A goroutine that always
// waits so is interrupted a hundred times a second by the runtime's monitor; a
// wait that tells the runtime, as syscall.Syscall does, 3,000 times.)
type Poller struct {
	fd     int
	gate   int // an epoll descriptor that has fd in it, and is in Go's poller
	wake   int
	file   *os.File // keeps the gate in Go's poller; never garbage while the Poller lives
	raw    syscall.RawConn
	poll   func(fd uintptr) bool
	armed  time.Time // the deadline that file has; zero: none
	eager  bool
	brief  int // waits in a row that were shorter than briefWait
	calls  int // of poll, in one Wait
	n      int
	events [batch]unix.EpollEvent
}

// After eagerAfter waits in a row that took less than briefWait the Poller is
// eager, until nothing happens for eagerWait.
const (
	eagerWait  = 4 * time.Millisecond
	briefWait  = eagerWait / 2
	eagerAfter = 8
)

// NewPoller opens a Poller. Close frees it.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	p := &Poller{fd: fd, gate: -1, wake: -1}
	if err := p.init(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Poller) init() (err error) {
	if p.gate, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.EpollCtl(p.gate, unix.EPOLL_CTL_ADD, p.fd, &unix.EpollEvent{Events: In}); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	if err := unix.SetNonblock(p.gate, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	p.file = os.NewFile(uintptr(p.gate), "epoll")
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
	} else if p.gate >= 0 {
		Close(p.gate)
	}
	Close(p.fd)
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
	p.look(0)
	p.wasBrief()
	return p.n
}

// Wait waits for events until the deadline (the zero Time: for ever) and
// returns how many there are, 0 when the deadline passed first. It may be late
// by eagerWait. parked reports whether the goroutine gave up its processor
// meanwhile.
func (p *Poller) Wait(deadline time.Time) (n int, parked bool) {
	if p.eager && p.waitEagerly() {
		return p.n, false
	}
	start := time.Now()
	p.park(deadline)
	if time.Since(start) < briefWait {
		p.wasBrief()
	} else {
		p.brief = 0
	}
	return p.n, p.calls > 1
}

// wasBrief counts a wait that was soon over.
func (p *Poller) wasBrief() {
	if p.brief++; p.brief >= eagerAfter && !p.eager {
		p.eager = true
		p.setGate(0)
	}
}

// waitEagerly waits for up to eagerWait. It reports whether there are events;
// without, the Poller is not eager any more.
func (p *Poller) waitEagerly() bool {
	for p.look(eagerWait) == unix.EINTR {
		runtime.Gosched() // the runtime wants the processor
	}
	if p.n > 0 {
		return true
	}
	p.eager, p.brief = false, 0
	p.setGate(In)
	return false
}

// park waits in Go's network poller.
func (p *Poller) park(deadline time.Time) {
	p.arm(deadline)
	p.calls, p.n = 0, 0
	err := p.raw.Read(p.poll)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		p.armed = time.Time{}
		_ = p.file.SetReadDeadline(time.Time{})
		p.calls = 2 // it may have parked
		p.look(0)
	}
}

// setGate says what of fd the gate reports: nothing while the Poller is eager,
// or every event would wake the thread that watches there, for nothing.
func (p *Poller) setGate(flags uint32) {
	ev := unix.EpollEvent{Events: flags}
	_, _, _ = syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.gate), unix.EPOLL_CTL_MOD, uintptr(p.fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
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
func (p *Poller) pollOnce(uintptr) bool {
	p.calls++
	p.look(0)
	return p.n != 0
}

// look collects events, and waits for them for up to d. The runtime interrupts
// it (EINTR) when it wants the processor.
func (p *Poller) look(d time.Duration) Errno {
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), batch, uintptr(d.Milliseconds()), 0, 0)
	if e != 0 {
		n = 0
	}
	p.n = int(n)
	return e
}

// Event returns event i of the last Poll or Wait. woken reports that it is
// Wake's and belongs to no descriptor of the caller.
func (p *Poller) Event(i int) (ev Event, woken bool) {
	raw := &p.events[i]
	data := uint64(uint32(raw.Fd)) | uint64(uint32(raw.Pad))<<32
	return Event{raw.Events, data}, data == wakeData
}
