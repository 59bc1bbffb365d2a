package upgrade

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"culvert/l4"
)

// A step is something that a process does to the link until it dies.
type step struct {
	name string
	do   func(*link) error
}

func sends(k kind, payload any, fds ...int) step {
	return step{"sends " + k.String(), func(l *link) error { return l.send(k, payload, fds...) }}
}

func awaits(k kind) step {
	return step{"awaits " + k.String(), func(l *link) error {
		m, err := l.receive()
		if err == nil {
			err = m.is(k)
			closeAll(m.fds)
		}
		return err
	}}
}

// half sends a part of a message: a header that announces more, with
// descriptors.
func half(fds ...int) step {
	return step{"sends half of a batch", func(l *link) error {
		return l.sendHeader(kindBatch, 1000, fds...)
	}}
}

// follow does steps and dies.
func follow(l *link, steps []step) error {
	defer l.conn.Close()
	for _, s := range steps {
		if err := s.do(l); err != nil {
			return errors.Join(errors.New(s.name), err)
		}
	}
	return nil
}

// TestNewProcessDies: wherever the new process ends, the old one learns of it
// and of the reason, and goes on. Only when everything was said it leaves.
func TestNewProcessDies(t *testing.T) {
	p := newBoth(t)
	steps := []step{
		sends(kindHello, hello{Version, p.old.PID(), format()}), awaits(kindOffer), sends(kindReady, []string{"a"}),
		awaits(kindBatch), sends(kindGot, nil), awaits(kindBatch), sends(kindGot, nil),
		awaits(kindDone), sends(kindTaken, nil), awaits(kindCommit), sends(kindServing, nil),
	}
	for n := range len(steps) + 1 {
		name := "at once"
		if n > 0 {
			name = "after it " + steps[n-1].name
		}
		t.Run(name, func(t *testing.T) {
			p, fd := newBoth(t), null(t)
			followed := make(chan error, 1)
			go func() {
				err := follow(p.new.link, steps[:n])
				p.old.child.kill() // it is dead, which this tells the old one
				followed <- err
			}()
			_, _, err := p.hand(Offer{}, map[string][]int{"a": {fd}}, slices.Values(conns(200, fd, 10)), 7)
			if err := <-followed; err != nil {
				t.Fatal(err)
			}
			if done := n == len(steps); done != (err == nil) || !done && err.Error() != "the new process ended: signal: killed" {
				t.Errorf("the old process says: %v", err)
			}
		})
	}
}

// TestOldProcessDies: wherever the old process ends, the new one goes on with
// what it has, once it has the listeners. Before that it has nothing.
func TestOldProcessDies(t *testing.T) {
	fd := null(t)
	first, second := conns(2, fd, 10), conns(1, fd, 8<<20)
	tests := []struct {
		step
		orphan bool // when it dies after the step
		taken  int
	}{
		{awaits(kindHello), false, 0},
		{sends(kindOffer, Offer{Version: Version, Format: format(), Keys: []string{"a", "a"}}, fd, fd), true, 0},
		{awaits(kindReady), true, 0},
		{sends(kindBatch, first, fd, fd, fd, fd), true, 2},
		{awaits(kindGot), true, 2},
		{half(fd, fd), true, 2},
	}
	commit := []step{
		sends(kindBatch, second, fd, fd), awaits(kindGot), sends(kindDone, uint64(7)), awaits(kindTaken), sends(kindCommit, nil),
	}
	end := len(tests) - 1 // half of a batch is never followed by another
	for _, s := range commit {
		tests = append(tests, struct {
			step
			orphan bool
			taken  int
		}{s, true, 3})
	}
	for n, tt := range tests {
		t.Run("after it "+tt.name, func(t *testing.T) {
			p := newBoth(t)
			var steps []step
			for i, s := range tests[:n+1] {
				if i != end || n == end {
					steps = append(steps, s.step)
				}
			}
			h := p.inherits("a")
			err := follow(p.old.link, steps)
			h.wait(t)
			if err != nil {
				t.Fatal(err)
			}
			orphaned := h.taker.Orphaned
			if strings.HasSuffix(tt.name, kindCommit.String()) {
				orphaned = tt.orphan // whether its last word still got out is chance
			}
			if h.taken != tt.taken || (h.err == nil) != tt.orphan || orphaned != tt.orphan {
				t.Errorf("%d taken, orphaned %v, %v, want %d, %v", h.taken, h.taker.Orphaned, h.err, tt.taken, tt.orphan)
			}
		})
	}
}

// TestOldProcessDiesAtTheEnd: it may die once it knows that the new one serves.
func TestOldProcessDiesAtTheEnd(t *testing.T) {
	p := newBoth(t)
	h := p.inherits()
	if _, _, err := p.hand(Offer{}, nil, slices.Values([]*l4.Handover(nil)), 7); err != nil {
		t.Fatal(err)
	}
	p.die()
	h.wait(t)
	if h.err != nil || h.taker.Orphaned || h.taker.LastID != 7 {
		t.Errorf("orphaned %v, last ID %d, %v", h.taker.Orphaned, h.taker.LastID, h.err)
	}
}

// TestNewProcessIsWrong: what a new process says that it should not ends the
// handover, and the old process knows why.
func TestNewProcessIsWrong(t *testing.T) {
	p, fd := newBoth(t), null(t)
	greets := []step{sends(kindHello, hello{Version, p.old.PID(), format()}), awaits(kindOffer), sends(kindReady, []string(nil))}
	takes := slices.Concat(greets, []step{awaits(kindBatch), sends(kindGot, nil), awaits(kindDone)})
	tests := []struct {
		name   string
		before []step
		last   step
		want   string
	}{
		{"another version", nil, sends(kindHello, hello{Version + 1, p.old.PID(), format()}), "version 3 of the handover, this one 2"},
		{"another format", nil, sends(kindHello, hello{Version, p.old.PID(), "0123"}), "another format of the handover (0123)"},
		{"another process", nil, sends(kindHello, hello{Version, 1, format()}), "process 1 wants to take over"},
		{"garbage", nil, step{"writes", func(l *link) error { _, err := l.conn.Write([]byte("garbage\n")); return err }}, "no such message"},
		{"a little garbage", nil, step{"writes", func(l *link) error { _, err := l.conn.Write([]byte("x")); return err }}, "ended: signal: killed"},
		{"descriptors with its hello", nil, sends(kindHello, hello{}, fd, fd), "version 0"},
		{"a failure", greets[:2], sends(kindFailed, "no port is free"), "the new process: no port is free"},
		{"ready without hello", nil, sends(kindReady, []string(nil)), "ready, expected hello"},
		{"ready of another type", greets[:2], sends(kindReady, 7), "ready: gob"},
		{"done instead of got", slices.Concat(greets, takes[3:4]), sends(kindDone, uint64(7)), "done, expected got"},
		{"a failure to take", slices.Concat(greets, takes[3:4]), sends(kindFailed, "no memory"), "the new process: no memory"},
		{"serving before taken", takes, sends(kindServing, nil), "serving, expected taken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newBoth(t)
			followed := make(chan error, 1)
			go func() {
				err := follow(p.new.link, append(slices.Clone(tt.before), tt.last))
				p.old.child.kill()
				followed <- err
			}()
			_, _, err := p.hand(Offer{}, nil, slices.Values(conns(1, fd, 0)), 7)
			if err := <-followed; err != nil {
				t.Fatal(err)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the old process says %v, want %q in it", err, tt.want)
			}
		})
	}
}

// TestOldProcessIsWrong: a new process that does not understand everything
// serves nothing, and says so.
func TestOldProcessIsWrong(t *testing.T) {
	fd := null(t)
	offers := []step{awaits(kindHello), sends(kindOffer, Offer{Version: Version, Format: format()}), awaits(kindReady)}
	tests := []struct {
		name   string
		before []step
		last   step
		want   string
	}{
		{"another version", offers[:1], sends(kindOffer, Offer{Version: Version + 1, Format: format()}), "the old process speaks version 3"},
		{"another format", offers[:1], sends(kindOffer, Offer{Version: Version, Format: "0123"}, fd, fd), "the old process has another format"},
		{"descriptors without keys", offers[:1], sends(kindOffer, Offer{Version: Version, Format: format()}, fd, fd), "descriptors without a key"},
		{"fewer keys than descriptors", offers[:1], sends(kindOffer, Offer{Version: Version, Format: format(), Keys: []string{"a"}}, fd, fd), "descriptors without a key"},
		{"more keys than descriptors", offers[:1], sends(kindOffer, Offer{Version: Version, Format: format(), Keys: []string{"a"}}), "keys without a descriptor"},
		{"an end of the descriptors", slices.Concat(offers[:1], []step{sends(kindOffer, Offer{Version: Version, Format: format(), Keys: []string{"a", "b"}}, fd)}),
			sends(kindOffer, Offer{Version: Version, Format: format(), Keys: []string{"a", "b"}}), "keys without a descriptor"},
		{"another message after a part of the offer", slices.Concat(offers[:1], []step{sends(kindOffer, Offer{Version: Version, Format: format(), Keys: []string{"a", "b"}}, fd)}),
			sends(kindBatch, conns(1, fd, 0), fd, fd), "batch, expected offer"},
		{"a batch without descriptors", offers, sends(kindBatch, conns(1, fd, 0)), "without its descriptors"},
		{"a batch with too few", offers, sends(kindBatch, conns(2, fd, 0), fd, fd, fd), "without its descriptors"},
		{"a batch with too many", offers, sends(kindBatch, conns(2, fd, 0), fd, fd, fd, fd, fd), "without a connection"},
		{"descriptors and no connections", offers, sends(kindBatch, conns(0, fd, 0), fd), "without a connection"},
		{"a batch of something else", offers, sends(kindBatch, "all of them", fd), "batch: gob"},
		{"an offer instead of a batch", offers, sends(kindOffer, Offer{}, fd), "offer, expected batch"},
		{"an end that says nothing", offers, sends(kindDone, nil, fd), "done: EOF"},
		{"serving before the end", offers, sends(kindServing, nil), "serving, expected batch"},
		{"no commit", slices.Concat(offers, []step{sends(kindDone, uint64(7)), awaits(kindTaken)}), sends(kindBatch, conns(1, fd, 0), fd, fd), "batch, expected commit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newBoth(t)
			h := p.inherits()
			told := step{"is told", func(l *link) error {
				_, err := l.expect(kindGot, nil)
				if why := failure(""); !errors.As(err, &why) || !strings.Contains(string(why), tt.want) {
					return errors.Join(io.ErrUnexpectedEOF, err)
				}
				return nil
			}}
			if err := follow(p.old.link, slices.Concat(tt.before, []step{tt.last, told})); err != nil {
				t.Error(err)
			}
			h.wait(t)
			if h.err == nil || h.taker.Orphaned || !strings.Contains(h.err.Error(), tt.want) {
				t.Errorf("orphaned %v, error %v, want %q in it", h.taker.Orphaned, h.err, tt.want)
			}
		})
	}
}
