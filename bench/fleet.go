package bench

import (
	"context"
	"fmt"
	"slices"

	"culvert/bench/peer"
)

// entry is one line of a workload: a peer with a setup and a name.
type entry struct {
	name   string
	peer   peer.Peer
	setup  peer.Setup
	failed bool
}

// key identifies a setup.
func (e *entry) key() string { return fmt.Sprintf("%s %+v", e.name, e.setup) }

// entries returns the peers with which w is measured.
func (r *runner) entries(w workload) []entry {
	setup := peer.Setup{Servers: r.origin.Plain[:1], Workers: r.Workers, HalfClose: true}
	if w.setup != nil {
		w.setup(&setup, r.origin)
	}
	var list []entry
	for _, p := range r.peers {
		if w.skip == nil || !w.skip(p.Name) {
			list = append(list, entry{name: p.Name, peer: p, setup: setup})
		}
	}
	for _, v := range w.beside {
		if len(list) > 0 && list[0].name == r.Peers[0].Name {
			e := entry{name: v.name, peer: list[0].peer, setup: setup}
			v.setup(&e.setup)
			list = slices.Insert(list, 1, e)
		}
	}
	return list
}

// fleet is the set of running peers, so that workloads with the same setup need
// not start them again. The zero value is an empty fleet.
type fleet struct{ running map[string]*peer.Running }

// run starts and stops peers so that exactly the entries are running. Entries
// that do not start are marked as failed, and their errors are returned.
func (f *fleet) run(ctx context.Context, entries []entry, dir string) (errs []error) {
	if f.running == nil {
		f.running = make(map[string]*peer.Running)
	}
	for key, p := range f.running {
		if !slices.ContainsFunc(entries, func(e entry) bool { return e.key() == key }) {
			p.Stop()
			delete(f.running, key)
		}
	}
	for i := range entries {
		e := &entries[i]
		if f.running[e.key()] != nil {
			continue
		}
		p, err := e.peer.Start(ctx, e.setup, dir)
		if err != nil {
			e.failed = true
			errs = append(errs, err)
			continue
		}
		f.running[e.key()] = p
	}
	return errs
}

func (f *fleet) get(key string) *peer.Running { return f.running[key] }

func (f *fleet) stop() {
	for key, p := range f.running {
		p.Stop()
		delete(f.running, key)
	}
}
