package l4

// reserve takes a place for a connection in the engine and in the listener:
// no two loops can share the last one.
func (e *Engine) reserve(a *accepter) bool {
	if !e.active.Take() {
		return false
	}
	if !a.shared.active.Take() {
		e.active.Release()
		return false
	}
	return true
}

func (e *Engine) unreserve(s *listenerState) {
	s.active.Release()
	e.active.Release()
}

// countPlace takes a place whatever the limits, for a connection that another
// process has accepted.
func (e *Engine) countPlace(s *listenerState) {
	s.active.Add(1)
	e.active.Add(1)
}
