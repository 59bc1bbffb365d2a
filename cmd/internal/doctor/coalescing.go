package doctor

import (
	"crypto/x509"
	"fmt"
	"iter"
	"slices"
	"strings"

	"culvert/cmd/internal/config"
)

// coalescing looks for names of other pools in the certificates of this one.
// An HTTP/2 client may use a connection for every name that the certificate
// covers and that has the same address (RFC 9113 section 9.1.1), and culvert
// sees only the first name. Where culvert terminates TLS, it answers 421
// instead.
func (s *site) coalescing(others []*site) *line {
	if !s.passedThrough() || len(s.leaves()) == 0 {
		return nil
	}
	l := newLine("coalescing")
	for _, other := range others {
		if other != s {
			s.coalesce(l, other)
		}
	}
	return l
}

func (s *site) coalesce(l *line, other *site) {
	for _, w := range s.Ways {
		if w.Kind != config.PassedThrough {
			continue
		}
		if strangers := s.strangers(w, other); len(strangers) > 0 {
			l.warn(fmt.Sprintf("give the servers of %s a certificate without the names of %s, and without a wildcard that covers them; or make them offer http/1.1 only; or give the two pools different addresses", s.name(), other.name()),
				"the certificates of the pool %s also cover %s, which the listener %s sends to the pool %s: browsers that use HTTP/2 may send its requests over a connection to %s, which is the wrong pool",
				s.name(), strings.Join(strangers, ", "), w.Listener, other.name(), s.name())
		}
	}
	l.troubles = slices.Compact(l.troubles) // several ways on one listener give the same text
}

// strangers returns the patterns of another pool, on the listener of w, that a
// certificate of this one covers.
func (s *site) strangers(w config.Way, other *site) (all []string) {
	for _, x := range other.Ways {
		name, ok := example(x.Pattern)
		if !ok || x.Listener != w.Listener || len(x.ALPN) > 0 && !slices.Contains(x.ALPN, "h2") {
			continue
		}
		if slices.ContainsFunc(s.leaves(), func(c *x509.Certificate) bool { return c.VerifyHostname(name) == nil }) {
			all = append(all, x.Pattern)
		}
	}
	return all
}

// leaves returns the certificates of the servers that speak HTTP/2.
func (s *site) leaves() (all []*x509.Certificate) {
	for _, x := range s.servers {
		for _, c := range x.shown {
			if c.h2 {
				all = append(all, c.leaf)
			}
		}
	}
	return all
}

// keys iterates over the keys whose value is true.
func keys(m map[string]bool) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k, v := range m {
			if v && !yield(k) {
				return
			}
		}
	}
}
