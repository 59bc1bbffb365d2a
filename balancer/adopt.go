package balancer

import "time"

// Legacy is what a server leaves to its successor in another process.
type Legacy struct {
	Name, Address string
	Causes        Cause
	WarmAt        time.Duration // when its slow start ends; 0: it has none
	SlowStart     time.Duration // how long that one takes
}

// Legacies returns those of p's servers. Who has no address finds out anew.
func (p *Pool) Legacies() []Legacy {
	all := make([]Legacy, len(p.servers))
	for i, s := range p.servers {
		all[i] = Legacy{s.name, s.address, s.Causes() &^ Unresolved, time.Duration(s.warmAt.Load()), s.tier.plan.slowStart}
	}
	return all
}

// Inherit gives p's servers what those of the same name and address were in
// another process, before p is used.
func (p *Pool) Inherit(all []Legacy) {
	p.adopt(func(name string) (Legacy, *Server) {
		for _, l := range all {
			if l.Name == name {
				return l, nil
			}
		}
		return Legacy{}, nil
	})
}

// Adopt makes p the successor of old, before p is used: a server that both
// have, by name and address, keeps its connections, and why it is out of
// service as far as p's configuration does not say otherwise. Connections that
// hold a place by old's server release it there.
func (p *Pool) Adopt(old *Pool) {
	byName := make(map[string]*Server, len(old.servers))
	for _, s := range old.servers {
		byName[s.name] = s
	}
	legacies := old.Legacies()
	p.adopt(func(name string) (Legacy, *Server) {
		was := byName[name]
		if was == nil {
			return Legacy{}, nil
		}
		return legacies[was.index], was
	})
}

// adopt gives every server what past says of its name.
func (p *Pool) adopt(past func(name string) (Legacy, *Server)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.servers {
		l, was := past(s.name)
		if l.Address != s.address {
			s.causes.Store(uint32(s.Causes() | l.Causes&Drained)) // an operator means the name
			continue
		}
		s.succeed(l)
		if was != nil {
			s.active, s.slots = was.active, was.slots
		}
	}
	p.assess()
}

// Succeeds reports whether the server was in the pool that its pool adopted,
// so that its health is known.
func (s *Server) Succeeds() bool { return s.heir }

// succeed makes s what l was. A slow start goes on as if it had begun with the
// length that it has now.
func (s *Server) succeed(l Legacy) {
	s.heir = true
	s.causes.Store(uint32(s.Causes()&Configured | l.Causes&^Configured))
	slow := s.tier.plan.slowStart
	if slow == 0 || l.WarmAt == 0 {
		return
	}
	warm := int64(l.WarmAt - l.SlowStart + slow)
	s.warmAt.Store(warm)
	s.tier.warmAt.Store(max(warm, s.tier.warmAt.Load()))
}
