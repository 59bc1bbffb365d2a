package upgrade

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"culvert/l4"
)

// A Taker is the new process's part. One goroutine at a time uses it.
type Taker struct {
	link  *link
	Offer Offer

	LastID uint64 // of the connections that the old process had; known after Take

	// Orphaned is true once the old process is gone: what it did not hand
	// over is lost, and the rest is this process's.
	Orphaned bool

	patience time.Duration // how long it waits for each step of the old one
}

func newTaker(l *link) *Taker { return &Taker{link: l, patience: orphanTimeout} }

// orphanTimeout bounds each wait for the old process. It is longer than what
// the old process waits, so that the old one, which can go on, gives up first.
const orphanTimeout = 30 * time.Second

// FromParent greets the process that started this one to hand over to it, and
// waits for its offer. It returns nil when this one was started in another
// way.
func FromParent() (*Taker, error) {
	value := os.Getenv(envFD)
	if value == "" {
		return nil, nil
	}
	_ = os.Unsetenv(envFD)
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%s=%q is no descriptor", envFD, value)
	}
	l, err := newLink(os.NewFile(uintptr(fd), "upgrade"))
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	t := newTaker(l)
	if err := t.greet(); err != nil {
		t.Fail(err)
		return nil, fmt.Errorf("take over: %w", err)
	}
	return t, nil
}

// greet says hello and waits for the offer, which is complete when there is a
// descriptor for every key.
func (t *Taker) greet() error {
	t.link.within(t.patience)
	if err := t.link.send(kindHello, hello{Version: Version, PID: os.Getpid(), Format: format()}); err != nil {
		return gone(err)
	}
	var all []int
	for first := true; first || len(all) < len(t.Offer.Keys); first = false {
		t.Offer = Offer{} // gob adds to what is there
		fds, err := t.link.expect(kindOffer, &t.Offer)
		all = append(all, fds...)
		if err == nil {
			err = mismatch("the old process", t.Offer.Version, t.Offer.Format)
		}
		if err == nil && len(fds) == 0 && len(all) < len(t.Offer.Keys) {
			err = errors.New("offer: keys without a descriptor")
		}
		if err == nil && len(all) > len(t.Offer.Keys) {
			err = errors.New("offer: descriptors without a key")
		}
		if err != nil {
			closeAll(all)
			return err
		}
	}
	t.Offer.fds = map[string][]int{}
	for i, fd := range all {
		key := t.Offer.Keys[i]
		t.Offer.fds[key] = append(t.Offer.fds[key], fd)
	}
	return nil
}

// Sockets returns the listening descriptors by key. They are the caller's.
func (o *Offer) Sockets() map[string][]int { return o.fds }

// Fail tells the old process why this one cannot take over.
func (t *Taker) Fail(why error) {
	t.link.within(time.Second)
	_ = t.link.send(kindFailed, why.Error())
	_ = t.link.conn.Close()
}

// Take says that this process is ready, with the listeners that it keeps, and
// gives every connection of the old one to take, which may refuse it: that one
// is lost. It returns how many were taken; an error means that this process
// must not serve. When the old process dies on the way that is no error.
func (t *Taker) Take(keep []string, take func(*l4.Handover) error) (taken int, refused []error, err error) {
	t.link.within(t.patience)
	if err := t.link.send(kindReady, keep); err != nil {
		return 0, nil, t.orphan(err)
	}
	for {
		t.link.within(t.patience)
		m, err := t.link.receive()
		if err != nil {
			return taken, refused, t.orphan(err)
		}
		if m.kind == kindDone {
			return taken, refused, t.confirm(m)
		}
		batch, err := m.batch()
		if err != nil {
			return taken, refused, err
		}
		for _, h := range batch {
			if err := take(h); err != nil {
				refused = append(refused, err)
			} else {
				taken++
			}
		}
		if err := t.link.send(kindGot, nil); err != nil {
			return taken, refused, t.orphan(err)
		}
	}
}

// batch returns the connections of m with their descriptors. After an error
// all of them are closed.
func (m *message) batch() (all []*l4.Handover, err error) {
	if err = m.is(kindBatch); err == nil {
		err = m.decode(&all)
	}
	if err == nil {
		err = share(all, m.fds)
	}
	if err != nil {
		closeAll(m.fds)
		return nil, err
	}
	return all, nil
}

// share gives the connections their descriptors.
func share(all []*l4.Handover, fds []int) error {
	for _, h := range all {
		n := min(len(h.FDs()), len(fds))
		if !h.SetFDs(fds[:n]) {
			return errors.New("batch: a connection without its descriptors")
		}
		fds = fds[n:]
	}
	if len(fds) > 0 {
		return errors.New("batch: descriptors without a connection")
	}
	return nil
}

// confirm agrees with the old process, which has said with m that this is all,
// that this process serves.
func (t *Taker) confirm(m *message) error {
	closeAll(m.fds)
	if err := m.decode(&t.LastID); err != nil {
		return err
	}
	if err := t.link.send(kindTaken, nil); err != nil {
		return t.orphan(err)
	}
	t.link.within(t.patience)
	if _, err := t.link.expect(kindCommit, nil); err != nil {
		return t.orphan(err)
	}
	return t.orphan(t.link.send(kindServing, nil))
}

// orphan notes that the old process is gone if that is what err says: this one
// has to go on with what it has.
func (t *Taker) orphan(err error) error {
	if err == nil || !errors.Is(gone(err), io.EOF) {
		return err
	}
	t.Orphaned = true
	return nil
}
