package l4

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"regexp"
	"slices"
	"strings"

	"culvert/sniff"
)

// Table finds the route of a hello. It is immutable and safe for concurrent
// use; a lookup does not allocate.
//
// Precedence: an exact name, then the longest wildcard, then the first
// regular expression in order, then the default. The name decides first and
// finally: among the routes that share its pattern the first whose ALPN
// condition holds is taken, then the one without a condition; when neither
// exists the connection is rejected, never handed to a weaker pattern.
type Table struct {
	exact  map[string]*ruleSet
	suffix map[string]*ruleSet // "example.com" for "*.example.com"
	depths depthSet            // how many labels the suffixes have
	regexp []*ruleSet
	def    *Route
	noALPN *Route // for a name whose every ALPN condition failed
	routes []*Route
}

// ruleSet is what one pattern leads to.
type ruleSet struct {
	pattern string
	match   *regexp.Regexp
	byALPN  []*Route
	plain   *Route // the route without a condition
}

// depthSet has bit n set when some wildcard suffix has n labels. A name has
// at most 127 labels (RFC 1035 section 3.1: 255 bytes on the wire).
type depthSet [2]uint64

func (d *depthSet) add(n int)      { d[n/64&1] |= 1 << (n % 64) }
func (d *depthSet) has(n int) bool { return d[n/64&1]>>(n%64)&1 != 0 }
func (d *depthSet) empty() bool    { return bits.OnesCount64(d[0])+bits.OnesCount64(d[1]) == 0 }

// Offer is what a lookup asks of a hello besides its name.
type Offer interface {
	OffersALPN(protocol string) bool
}

// Match says which route a lookup found, and why.
type Match struct {
	Route *Route
	Why   string
}

// The pattern kinds, as Match.Why words them.
var (
	byName     = kind{"exact name", "exact name and ALPN", "exact name, but no ALPN condition holds"}
	byWildcard = kind{"wildcard", "wildcard and ALPN", "wildcard, but no ALPN condition holds"}
	byRegexp   = kind{"regular expression", "regular expression and ALPN", "regular expression, but no ALPN condition holds"}
)

type kind struct{ plain, alpn, refused string }

// NewTable builds a Table. def takes hellos without a server name and names
// that match nothing; nil means reject.
func NewTable(routes []*Route, def *Route) (*Table, error) {
	if def == nil {
		def = &Route{Action: Reject}
	}
	t := &Table{
		exact:  map[string]*ruleSet{},
		suffix: map[string]*ruleSet{},
		def:    def,
		noALPN: &Route{Action: Reject, label: "no alpn match"},
	}
	for _, r := range routes {
		if err := t.add(r); err != nil {
			return nil, fmt.Errorf("route %q: %w", r.ServerName, err)
		}
	}
	t.routes = append(slices.Clone(routes), def, t.noALPN)
	return t, nil
}

// Routes returns every route that a lookup can return: those configured, the
// default, and the one that refuses. Callers must not change the slice.
func (t *Table) Routes() []*Route { return t.routes }

func (t *Table) add(r *Route) error {
	if err := r.check(); err != nil {
		return err
	}
	r.label = r.Label()
	set, err := t.ruleSet(r.ServerName)
	if err != nil {
		return err
	}
	if len(r.ALPN) > 0 {
		set.byALPN = append(set.byALPN, r)
		return nil
	}
	if set.plain != nil {
		return errors.New("another route has the same name and no ALPN condition")
	}
	set.plain = r
	return nil
}

func (r *Route) check() error {
	if r.Action != Handle && (r.Action == Forward) != (r.Pool != nil) {
		return errors.New("a route has a pool if and only if it forwards")
	}
	if slices.ContainsFunc(r.ALPN, func(p string) bool { return p == "" || len(p) > 255 }) {
		return errors.New("an ALPN value has 1 to 255 bytes")
	}
	return nil
}

// ruleSet returns the set of a pattern, made on its first use.
func (t *Table) ruleSet(pattern string) (*ruleSet, error) {
	if expr, ok := strings.CutPrefix(pattern, "~"); ok {
		return t.regexpSet(pattern, expr)
	}
	sets, name := t.exact, pattern
	if suffix, ok := strings.CutPrefix(pattern, "*."); ok {
		sets, name = t.suffix, suffix
	}
	norm, err := sniff.AppendName(nil, name)
	if err != nil {
		return nil, err
	}
	if sniff.IsIPLiteral(name) {
		return nil, errors.New("an IP address is never a server name (RFC 6066 section 3)")
	}
	if set := sets[string(norm)]; set != nil {
		return set, nil
	}
	set := &ruleSet{pattern: pattern}
	sets[string(norm)] = set
	if name != pattern {
		t.depths.add(bytes.Count(norm, []byte{'.'}) + 1)
	}
	return set, nil
}

func (t *Table) regexpSet(pattern, expr string) (*ruleSet, error) {
	for _, set := range t.regexp {
		if set.pattern == pattern {
			return set, nil
		}
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	set := &ruleSet{pattern: pattern, match: re}
	t.regexp = append(t.regexp, set)
	return set, nil
}

// Lookup finds the route for a normalised server name, empty when the hello
// had none, and what the hello offers.
func (t *Table) Lookup(name []byte, offer Offer) Match {
	if len(name) == 0 {
		return Match{t.def, "the hello names no server"}
	}
	if set := t.exact[string(name)]; set != nil {
		return t.choose(set, offer, &byName)
	}
	if set := t.wildcard(name); set != nil {
		return t.choose(set, offer, &byWildcard)
	}
	for _, set := range t.regexp {
		if set.match.Match(name) {
			return t.choose(set, offer, &byRegexp)
		}
	}
	return Match{t.def, "no pattern matches the name"}
}

// wildcard walks from the longest proper suffix of name to the shortest and
// looks only at those with as many labels as some configured suffix.
func (t *Table) wildcard(name []byte) *ruleSet {
	if t.depths.empty() {
		return nil
	}
	labels := 1
	for _, c := range name {
		if c == '.' {
			labels++
		}
	}
	for i, c := range name {
		if c != '.' {
			continue
		}
		labels--
		if !t.depths.has(labels) {
			continue
		}
		if set := t.suffix[string(name[i+1:])]; set != nil {
			return set
		}
	}
	return nil
}

func (t *Table) choose(s *ruleSet, offer Offer, k *kind) Match {
	for _, r := range s.byALPN {
		for _, p := range r.ALPN {
			if offer.OffersALPN(p) {
				return Match{r, k.alpn}
			}
		}
	}
	if s.plain != nil {
		return Match{s.plain, k.plain}
	}
	return Match{t.noALPN, k.refused}
}

// Label names the route in logs and metrics: its pattern, with the ALPN
// values of its condition if it has one.
func (r *Route) Label() string {
	switch {
	case r.label != "":
		return r.label
	case r.ServerName == "":
		return "default"
	case len(r.ALPN) == 0:
		return r.ServerName
	}
	return r.ServerName + " alpn=" + strings.Join(r.ALPN, ",")
}
