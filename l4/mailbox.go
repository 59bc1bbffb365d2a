package l4

import (
	"sync"
)

// mailbox carries commands from other goroutines into a loop.
type mailbox struct {
	sync.Mutex
	funcs  []func(*loop)
	closed bool
}

// post makes the loop's goroutine call f soon. It reports false, and f is
// never called, when the loop has ended.
func (l *loop) post(f func(*loop)) bool {
	l.mail.Lock()
	defer l.mail.Unlock()
	if l.mail.closed {
		return false
	}
	l.mail.funcs = append(l.mail.funcs, f)
	l.poll.Wake()
	return true
}

func (l *loop) readMail() {
	l.mail.Lock()
	funcs := l.mail.funcs
	l.mail.funcs = nil
	l.mail.Unlock()
	for _, f := range funcs {
		f(l)
	}
}
