package balancer

import "time"

// A ServerState is the state of a server that a new process takes over.
type ServerState struct {
	Name, Address string
	Causes        Cause
	WarmAt        time.Duration // when the slow start ends, on the pool's clock; 0 means no slow start
	SlowStart     time.Duration // length of that slow start
}

// ServerStates returns the state of each of p's servers, in configured order.
// It leaves out Unresolved: the new process looks addresses up itself.
func (p *Pool) ServerStates() []ServerState {
	all := make([]ServerState, len(p.servers))
	for i, s := range p.servers {
		all[i] = ServerState{s.name, s.address, s.Causes() &^ Unresolved, time.Duration(s.warmAt.Load()), s.tier.plan.slowStart}
	}
	return all
}

// Restore gives p's servers the states that servers of the same name and
// address had in another process. It must be called before p is used.
func (p *Pool) Restore(all []ServerState) {
	p.adopt(func(name string) (ServerState, *Server) {
		for _, l := range all {
			if l.Name == name {
				return l, nil
			}
		}
		return ServerState{}, nil
	})
}

// Adopt carries the state of old over to p, which replaces it. It must be
// called before p is used. A server that is in both, by name and address,
// keeps its connection count and its causes, except Configured, which p's own
// configuration decides. A connection that took its place on old's server
// releases it on that server.
func (p *Pool) Adopt(old *Pool) {
	byName := make(map[string]*Server, len(old.servers))
	for _, s := range old.servers {
		byName[s.name] = s
	}
	legacies := old.ServerStates()
	p.adopt(func(name string) (ServerState, *Server) {
		was := byName[name]
		if was == nil {
			return ServerState{}, nil
		}
		return legacies[was.index], was
	})
}

// adopt gives every server the state that past returns for its name, and
// shares the counters of the old server if past returns one.
func (p *Pool) adopt(past func(name string) (ServerState, *Server)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.servers {
		l, was := past(s.name)
		if l.Address != s.address {
			s.causes.Store(uint32(s.Causes() | l.Causes&Drained)) // an operator drains a name, whatever its address
			continue
		}
		s.restore(l)
		if was != nil {
			s.active, s.slots = was.active, was.slots
		}
	}
	p.assess()
}

// Adopted reports whether the server has the state of a server in an earlier
// pool or process, so that its health is known.
func (s *Server) Adopted() bool { return s.adopted }

// restore gives s the state l. A slow start that has begun continues as if it
// had begun with the length now configured.
func (s *Server) restore(l ServerState) {
	s.adopted = true
	s.causes.Store(uint32(s.Causes()&Configured | l.Causes&^Configured))
	slow := s.tier.plan.slowStart
	if slow == 0 || l.WarmAt == 0 {
		return
	}
	warm := int64(l.WarmAt - l.SlowStart + slow)
	s.warmAt.Store(warm)
	s.tier.warmAt.Store(max(warm, s.tier.warmAt.Load()))
}
