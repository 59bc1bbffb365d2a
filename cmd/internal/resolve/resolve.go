// Package resolve looks up the addresses of servers that are configured by
// name, and reports when they change.
package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Config is the configuration of lookups. The zero value means the defaults.
type Config struct {
	Servers []netip.AddrPort // DNS servers, queried in this order; none means those of /etc/resolv.conf
	MinTTL  time.Duration    // lower bound of how long an answer is valid; 0 means DefaultMinTTL
	MaxTTL  time.Duration    // upper bound of the same; 0 means DefaultMaxTTL
	Timeout time.Duration    // of one query to one server; 0 means DefaultTimeout
}

// Defaults for Config.
const (
	DefaultMinTTL  = time.Second
	DefaultMaxTTL  = 5 * time.Minute
	DefaultTimeout = 2 * time.Second

	// hostsTTL is the time until a name is looked up again that is in the
	// hosts file or could not be looked up.
	hostsTTL = 10 * time.Second
)

// resolvConf is the system's resolver configuration (resolv.conf(5)).
const resolvConf = "/etc/resolv.conf"

// A Service is one target of an SRV record.
type Service struct {
	Host             string
	Port             uint16
	Priority, Weight uint16
}

// An Answer is the result of looking a name up. It is immutable once stored.
type Answer struct {
	Addrs    []netip.Addr // sorted
	Services []Service    // of an SRV query; sorted
	Expires  time.Time
	Err      error // of the last lookup; if set, Addrs and Services are from an earlier one

	lacks family // the family that could not be looked up
}

// family is an address family, as the length of its addresses in bits; 0 is
// no family.
type family int

func (f family) has(a netip.Addr) bool { return a.BitLen() == int(f) }

func (a *Answer) empty() bool { return len(a.Addrs) == 0 && len(a.Services) == 0 }

// same reports whether a and b have the same addresses and services.
func (a *Answer) same(b *Answer) bool {
	return slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.Services, b.Services)
}

// question is a name and the record type to look up.
type question struct {
	name string
	srv  bool // SRV, else A and AAAA
}

// Resolver looks names up and caches the answers: when a lookup fails, the last
// good answer stays in use. Its methods may be called from any goroutine.
type Resolver struct {
	cfg     Config
	mu      sync.Mutex
	answers map[question]*Answer
	used    map[question]bool // since the last Begin
}

// New returns a Resolver with an empty cache.
func New(cfg Config) *Resolver {
	cfg.MinTTL = cmp.Or(cfg.MinTTL, DefaultMinTTL)
	cfg.MaxTTL = max(cmp.Or(cfg.MaxTTL, DefaultMaxTTL), cfg.MinTTL)
	cfg.Timeout = cmp.Or(cfg.Timeout, DefaultTimeout)
	return &Resolver{cfg: cfg, answers: map[question]*Answer{}, used: map[question]bool{}}
}

// Addrs returns the addresses of a host, at least one: from an answer that has
// not expired, else from the DNS servers, else from the last good answer.
func (r *Resolver) Addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	a := r.ask(ctx, question{name: host})
	if len(a.Addrs) == 0 {
		return nil, cmp.Or(a.Err, errors.New("it has no address"))
	}
	return a.Addrs, nil
}

// Services returns the targets of an SRV name, at least one, in the same way.
func (r *Resolver) Services(ctx context.Context, name string) ([]Service, error) {
	a := r.ask(ctx, question{name, true})
	if len(a.Services) == 0 {
		return nil, cmp.Or(a.Err, errors.New("it has no SRV record"))
	}
	return a.Services, nil
}

// ask returns the cached answer of q if it has not expired, and otherwise looks
// q up.
func (r *Resolver) ask(ctx context.Context, q question) *Answer {
	r.mu.Lock()
	known := r.answers[q]
	r.used[q] = true
	r.mu.Unlock()
	if known != nil && time.Now().Before(known.Expires) && !known.empty() {
		return known
	}
	fresh := r.look(ctx, q)
	if known != nil {
		fresh.complete(known)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[q] = fresh
	return fresh
}

// complete fills in from an older answer what could not be looked up.
func (a *Answer) complete(older *Answer) {
	if a.Err != nil {
		a.Addrs, a.Services = older.Addrs, older.Services
		return
	}
	for _, addr := range older.Addrs {
		if a.lacks.has(addr) {
			a.Addrs = append(a.Addrs, addr)
		}
	}
	a.Addrs = normal(a.Addrs)
}

// Begin clears the set of names in use, which names looked up from now on join.
// undo adds the earlier ones again.
func (r *Resolver) Begin() (undo func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.used
	r.used = map[question]bool{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		maps.Copy(r.used, before)
	}
}

// Missing returns the names in use that have no answer, sorted.
func (r *Resolver) Missing() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for q := range r.used {
		if a := r.answers[q]; a != nil && a.empty() {
			names = append(names, q.name)
		}
	}
	slices.Sort(names)
	return names
}

// Next returns when the first answer in use expires; ok is false when no name
// is in use.
func (r *Resolver) Next() (at time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for q := range r.used {
		if a := r.answers[q]; a != nil && (!ok || a.Expires.Before(at)) {
			at, ok = a.Expires, true
		}
	}
	return at, ok
}

// A Change is a name whose answer changed, or whose lookup failed.
type Change struct {
	Name  string
	Err   error // why the lookup failed; the last good answer stays in use
	Again bool  // the lookup before that failed, too
}

// Refresh looks up the names in use whose answers have expired and returns the
// changes.
func (r *Resolver) Refresh(ctx context.Context) []Change {
	var changes []Change
	for _, q := range r.expired() {
		r.mu.Lock()
		before := r.answers[q]
		r.mu.Unlock()
		after := r.ask(ctx, q)
		switch {
		case after.Err != nil:
			changes = append(changes, Change{Name: q.name, Err: after.Err, Again: before.Err != nil})
		case !after.same(before):
			changes = append(changes, Change{Name: q.name})
		}
	}
	return changes
}

func (r *Resolver) expired() (all []question) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for q := range r.used {
		if a := r.answers[q]; a != nil && !now.Before(a.Expires) {
			all = append(all, q)
		}
	}
	return all
}

// look looks q up in the hosts file, then with the DNS servers.
func (r *Resolver) look(ctx context.Context, q question) *Answer {
	if !q.srv {
		if addrs := inHosts(ctx, q.name); len(addrs) > 0 {
			return &Answer{Addrs: addrs, Expires: time.Now().Add(hostsTTL)}
		}
	}
	a, ttl, err := r.query(ctx, q)
	if err != nil {
		return &Answer{Err: err, Expires: time.Now().Add(min(hostsTTL, r.cfg.MaxTTL))}
	}
	a.Expires = time.Now().Add(min(max(ttl, r.cfg.MinTTL), r.cfg.MaxTTL))
	return a
}

// inHosts looks in the hosts file only: it uses Go's resolver with a Dial that
// always fails, so that no server is queried.
func inHosts(ctx context.Context, host string) []netip.Addr {
	res := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("hosts file only")
	}}
	addrs, err := res.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	return normal(addrs)
}

// normal sorts addresses, removes duplicates and zones, and converts
// IPv4-mapped ones to IPv4.
func normal(addrs []netip.Addr) []netip.Addr {
	all := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		all[i] = a.Unmap().WithZone("")
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// query asks the servers for each name that q may stand for, until one has
// records.
func (r *Resolver) query(ctx context.Context, q question) (*Answer, time.Duration, error) {
	servers, names, err := r.plan(q.name)
	if err != nil {
		return nil, 0, err
	}
	for _, name := range names {
		var a *Answer
		var ttl time.Duration
		if q.srv {
			a, ttl, err = r.services(ctx, servers, name)
		} else {
			a, ttl, err = r.addrs(ctx, servers, name)
		}
		if err == nil && !a.empty() {
			return a, ttl, nil
		}
	}
	return nil, 0, cmp.Or(err, errors.New("no such name"))
}

// plan returns the DNS servers and the names to query: a name without a dot may
// be in one of the search domains of resolv.conf.
func (r *Resolver) plan(name string) (servers, names []string, err error) {
	for _, s := range r.cfg.Servers {
		servers = append(servers, s.String())
	}
	conf, err := dns.ClientConfigFromFile(resolvConf)
	switch {
	case err == nil:
		names = conf.NameList(name)
	case len(servers) > 0:
		return servers, []string{dns.Fqdn(name)}, nil
	default:
		return nil, nil, err
	}
	if len(servers) == 0 {
		for _, s := range conf.Servers {
			servers = append(servers, net.JoinHostPort(s, conf.Port))
		}
	}
	if len(servers) == 0 {
		return nil, nil, fmt.Errorf("%s names no server", resolvConf)
	}
	return servers, names, nil
}

// addrs queries both families at the same time. If one fails, the addresses of
// the other are still returned.
func (r *Resolver) addrs(ctx context.Context, servers []string, name string) (*Answer, time.Duration, error) {
	types := [...]uint16{dns.TypeA, dns.TypeAAAA}
	var answers [len(types)]*dns.Msg
	var errs [len(types)]error
	var wait sync.WaitGroup
	for i, t := range types {
		wait.Go(func() { answers[i], errs[i] = r.exchange(ctx, servers, name, t) })
	}
	wait.Wait()
	a, ttl := &Answer{}, r.cfg.MaxTTL
	for i, m := range answers {
		if m == nil {
			a.lacks = [...]family{32, 128}[i]
			continue
		}
		for _, rr := range m.Answer {
			ttl = min(ttl, time.Duration(rr.Header().Ttl)*time.Second)
			if addr, ok := addressOf(rr); ok {
				a.Addrs = append(a.Addrs, addr)
			}
		}
	}
	a.Addrs = normal(a.Addrs)
	if len(a.Addrs) == 0 {
		return a, 0, oneLine(errs[0], errs[1])
	}
	return a, ttl, nil
}

// oneLine joins two errors in one line; either may be nil. Two equal texts
// become one, because both families usually fail in the same way.
func oneLine(a, b error) error {
	if a == nil || b == nil || a.Error() == b.Error() {
		return cmp.Or(a, b)
	}
	return fmt.Errorf("%w; %w", a, b)
}

func addressOf(rr dns.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *dns.A:
		return netip.AddrFromSlice(rr.A)
	case *dns.AAAA:
		return netip.AddrFromSlice(rr.AAAA)
	}
	return netip.Addr{}, false
}

func (r *Resolver) services(ctx context.Context, servers []string, name string) (*Answer, time.Duration, error) {
	m, err := r.exchange(ctx, servers, name, dns.TypeSRV)
	if err != nil {
		return nil, 0, err
	}
	a, ttl := &Answer{}, r.cfg.MaxTTL
	for _, rr := range m.Answer {
		ttl = min(ttl, time.Duration(rr.Header().Ttl)*time.Second)
		if s, ok := rr.(*dns.SRV); ok && s.Target != "." { // RFC 2782: "." is no service
			a.Services = append(a.Services, Service{s.Target, s.Port, s.Priority, s.Weight})
		}
	}
	slices.SortFunc(a.Services, func(x, y Service) int {
		return cmp.Or(cmp.Compare(x.Priority, y.Priority), cmp.Compare(x.Host, y.Host), cmp.Compare(x.Port, y.Port), cmp.Compare(x.Weight, y.Weight))
	})
	a.Services = slices.Compact(a.Services)
	return a, ttl, nil
}

// withoutPorts removes the addresses from a network error, because each query
// has another source port.
func withoutPorts(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// exchange queries one server after the other until one answers, and repeats
// the query over TCP if the answer is truncated. A name that does not exist is
// an answer without records, and no error.
func (r *Resolver) exchange(ctx context.Context, servers []string, name string, t uint16) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, t)
	m.SetEdns0(1232, false) // fits every path (DNS flag day 2020)
	var last error
	for _, s := range servers {
		answer, _, err := (&dns.Client{Timeout: r.cfg.Timeout}).ExchangeContext(ctx, m, s)
		if err == nil && answer.Truncated {
			answer, _, err = (&dns.Client{Net: "tcp", Timeout: r.cfg.Timeout}).ExchangeContext(ctx, m, s)
		}
		switch {
		case err != nil:
			last = fmt.Errorf("%s: %w", s, withoutPorts(err))
		case answer.Rcode == dns.RcodeSuccess || answer.Rcode == dns.RcodeNameError:
			return answer, nil
		default:
			last = fmt.Errorf("%s answers %s", s, dns.RcodeToString[answer.Rcode])
		}
	}
	return nil, last
}
