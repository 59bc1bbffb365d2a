package config

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"culvert/health"
	"culvert/l4"
	"culvert/sniff"
)

// Probes says how the servers of a pool are probed.
type Probes struct {
	Check    health.Check
	Deep     *health.Check // nil: none
	DeepPace time.Duration // how often Deep is run
	Schedule health.Schedule
	Port     uint16 // 0: the server's own

	Mattermost bool // the servers are Mattermost's: the check is the preset
}

// PoolHealth is how the health of a pool's servers is found out.
type PoolHealth struct {
	Pool     *l4.Pool
	Probes   *Probes          // nil: none
	Ejection *health.Ejection // nil: never ejected
}

// Health returns what the file says of the pools that cfg, which was built
// from it, uses.
func (f *File) Health(cfg *l4.Config) []PoolHealth {
	byName := map[string]*pool{}
	for _, p := range f.pools {
		byName[p.name.text] = p
	}
	var all []PoolHealth
	for _, p := range cfg.Pools() {
		from := byName[p.Balancer.Name()]
		all = append(all, PoolHealth{p, from.probes, from.ejection})
	}
	return all
}

// Defaults of health checks. The interval is that of traefik and HAProxy's
// users; rise and fall are HAProxy's.
const (
	defaultInterval = 5 * time.Second
	defaultFast     = time.Second
	defaultTimeout  = 2 * time.Second
	defaultRise     = 2
	defaultFall     = 3
	defaultDeepPace = time.Minute
	mostStreak      = 1000
)

// What a health check may be. mattermost is a preset of https.
const (
	checkMattermost = "mattermost"
	checkOff        = "off"
)

// A probeText is a health mapping as it stands in the file, before what its
// keys mean together is known.
type probeText struct {
	kind    string
	tls     bool // of mattermost
	deep    bool
	verify  *x509.CertPool
	name    string
	request health.Request
	body    func([]byte) error
	out     Probes
}

// probes reads health: a word that says which check, or a mapping.
func (d *decoder) probes(n ast.Node) *Probes {
	t := probeText{tls: true}
	t.out.DeepPace = defaultDeepPace
	t.out.Schedule = health.Schedule{Interval: defaultInterval, Rise: defaultRise, Fall: defaultFall}
	if s := scalarOf(n); s.kind != notScalar {
		t.kind = d.checkKind(n)
		return d.finishProbes(&t, found{})
	}
	s := &t.out.Schedule
	keys := d.mapping(n, "health", fields{
		"check":         func(n ast.Node) { t.kind = d.checkKind(n) },
		"interval":      func(n ast.Node) { s.Interval = d.duration(n, probeSpan) },
		"fast_interval": func(n ast.Node) { s.Fast = d.duration(n, probeSpan) },
		"timeout":       func(n ast.Node) { s.Timeout = d.duration(n, probeSpan) },
		"rise":          func(n ast.Node) { s.Rise = d.integer(n, 1, mostStreak) },
		"fall":          func(n ast.Node) { s.Fall = d.integer(n, 1, mostStreak) },
		"initial":       func(n ast.Node) { s.Initial = d.initial(n) },
		"port":          func(n ast.Node) { t.out.Port = uint16(d.integer(n, 1, 1<<16-1)) },
		"tls":           func(n ast.Node) { t.tls = d.toggle(n) },
		"server_name":   func(n ast.Node) { t.name = d.certName(n) },
		"verify":        func(n ast.Node) { t.verify = d.roots(n) },
		"method":        func(n ast.Node) { t.request.Method = d.httpToken(n) },
		"path":          func(n ast.Node) { t.request.Path = d.httpPath(n) },
		"host":          func(n ast.Node) { t.request.Host = d.httpHost(n) },
		"status":        func(n ast.Node) { t.request.Status = d.statuses(n) },
		"body":          func(n ast.Node) { t.body = d.body(n) },
		"deep":          func(n ast.Node) { t.deep = d.toggle(n) },
		"deep_interval": func(n ast.Node) { t.out.DeepPace = d.duration(n, probeSpan) },
	})
	d.require(n, keys, "health", "check")
	return d.finishProbes(&t, keys)
}

// probeSpan is what the times of a probe may be.
var probeSpan = span{min: 10 * time.Millisecond, max: day}

func (d *decoder) checkKind(n ast.Node) string {
	return d.oneOf(n, checkMattermost, string(health.TCP), string(health.TLS), string(health.HTTP), string(health.HTTPS), checkOff)
}

func (d *decoder) initial(n ast.Node) health.Initial {
	switch d.oneOf(n, "up", "down", "probe") {
	case "down":
		return health.Down
	case "probe":
		return health.Probe
	}
	return health.Up
}

// Keys that only some checks look at.
var (
	nameKeys   = []string{"server_name"} // without TLS it is the host that is asked for
	verifyKeys = []string{"verify"}
	hostKeys   = []string{"host"}
	httpKeys   = []string{"method", "path", "status", "body"}
	ownKeys    = []string{"tls", "deep", "deep_interval"} // of mattermost
)

// finishProbes makes the check that t means.
func (d *decoder) finishProbes(t *probeText, keys found) *Probes {
	kind := health.Kind(t.kind)
	switch t.kind {
	case "", checkOff:
		return nil
	case checkMattermost:
		kind = d.mattermost(t, keys)
	case string(health.TCP):
		d.ignored(keys, "on a tcp check", nameKeys, verifyKeys, hostKeys, httpKeys, ownKeys)
	case string(health.TLS):
		d.ignored(keys, "on a tls check", hostKeys, httpKeys, ownKeys)
	case string(health.HTTP):
		d.ignored(keys, "on an http check", verifyKeys, ownKeys)
		t.out.Check.Request = &t.request
	case string(health.HTTPS):
		d.ignored(keys, "on an https check", ownKeys)
		t.out.Check.Request = &t.request
	}
	if encrypted := kind == health.TLS || kind == health.HTTPS; encrypted && t.verify != nil && t.name == "" {
		d.errorAt(keys["verify"], `"verify" needs "server_name", the name that the certificate has to be for`)
	}
	if t.body != nil && t.out.Check.Request == &t.request {
		d.checkBody(t, keys)
	}
	d.finishCheck(&t.out.Check, kind, t)
	if t.out.Deep != nil {
		d.finishCheck(t.out.Deep, kind, t)
	}
	d.checkSchedule(&t.out.Schedule, keys)
	return &t.out
}

// checkBody makes the body count.
func (d *decoder) checkBody(t *probeText, keys found) {
	if t.request.Method == "HEAD" {
		d.errorAt(keys["body"], `"body" can never pass with the method HEAD, whose answers have none`)
	}
	t.request.Match = t.body
}

// checkSchedule sees to it that a probe is over when the next one begins, and
// sets what the file leaves out. An interval of 0 was reported.
func (d *decoder) checkSchedule(s *health.Schedule, keys found) {
	switch {
	case s.Interval == 0:
		return
	case s.Timeout > s.Interval:
		d.errorAt(keys["timeout"], "the timeout (%s) is longer than the interval (%s)", written(s.Timeout), written(s.Interval))
	case defaultTimeout > s.Interval && !keys.any("timeout"):
		d.errorAt(keys["interval"], "the interval (%s) is shorter than the timeout, which is %s if it is not set", written(s.Interval), written(defaultTimeout))
	}
	if s.Fast > s.Interval {
		d.errorAt(keys["fast_interval"], "the fast_interval (%s) is longer than the interval (%s)", written(s.Fast), written(s.Interval))
	}
	s.Timeout = cmp.Or(s.Timeout, defaultTimeout)
	s.Fast = cmp.Or(s.Fast, min(defaultFast, s.Interval))
}

func (d *decoder) finishCheck(c *health.Check, kind health.Kind, t *probeText) {
	c.Kind, c.ServerName, c.Roots = kind, t.name, t.verify
}

func (d *decoder) mattermost(t *probeText, keys found) health.Kind {
	d.ignored(keys, "on a mattermost check", httpKeys)
	if !keys.any("deep") {
		d.ignored(keys, `without "deep"`, []string{"deep_interval"})
	}
	t.out.Mattermost = true
	t.out.Check.Request = health.Mattermost(false)
	t.out.Check.Request.Host = t.request.Host
	if t.deep {
		t.out.Deep = &health.Check{Request: health.Mattermost(true)}
		t.out.Deep.Request.Host = t.request.Host
	}
	if t.tls {
		return health.HTTPS
	}
	d.ignored(keys, "on a mattermost check without TLS", verifyKeys)
	return health.HTTP
}

// roots reads whom to believe: on for the system's authorities, or a file.
func (d *decoder) roots(n ast.Node) *x509.CertPool {
	s := scalarOf(n)
	if s.kind == boolean || s.text == "on" || s.text == "off" {
		if !d.toggle(n) {
			return nil
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			d.errorf(n, "load the system's certificate authorities: %v", err)
		}
		return pool
	}
	const want = "on, off or the absolute path of a file with certificates in PEM"
	w := d.word(n, want)
	if !w.set() {
		return nil
	}
	pool, err := certificates(w.text)
	if err != nil {
		d.errorAt(w.at, "found %s, expected %s: %v", quote(w.text), want, err)
		return nil
	}
	return pool
}

// certificates reads a file. Its path does not depend on where the process was
// started.
func certificates(path string) (*x509.CertPool, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("the path must be absolute")
	}
	pem, err := read(path)
	pool := x509.NewCertPool()
	if err == nil && !pool.AppendCertsFromPEM(pem) {
		err = errors.New("it has no certificate")
	}
	return pool, err
}

// certName reads a name that servers are asked for.
func (d *decoder) certName(n ast.Node) string {
	const want = "a host name, such as chat.example.com"
	w := d.word(n, want)
	if _, err := sniff.AppendName(nil, w.text); w.set() && err != nil {
		d.errorAt(w.at, "found %s, expected %s", quote(w.text), want)
	}
	return w.text
}

// visible is the characters that may stand in a part of a request line.
var visible = regexp.MustCompile(`^[!-~]+$`)

func (d *decoder) httpToken(n ast.Node) string {
	w := d.word(n, "an HTTP method, such as GET")
	if w.set() && !regexp.MustCompile(`^[A-Z]+$`).MatchString(w.text) {
		d.errorAt(w.at, "found %s, expected an HTTP method, such as GET", quote(w.text))
	}
	return w.text
}

func (d *decoder) httpPath(n ast.Node) string {
	w := d.word(n, "a path, such as /health")
	if w.set() && (!strings.HasPrefix(w.text, "/") || !visible.MatchString(w.text)) {
		d.errorAt(w.at, "found %s, expected a path, such as /health", quote(w.text))
	}
	return w.text
}

func (d *decoder) httpHost(n ast.Node) string {
	w := d.word(n, "a host name, such as chat.example.com")
	if w.set() && (!visible.MatchString(w.text) || strings.ContainsAny(w.text, "/@?#")) {
		d.errorAt(w.at, "found %s, expected a host name, such as chat.example.com", quote(w.text))
	}
	return w.text
}

// statuses reads one status or range, or a list of them.
func (d *decoder) statuses(n ast.Node) (all []health.StatusRange) {
	if _, ok := n.(*ast.SequenceNode); !ok {
		return []health.StatusRange{d.status(n)}
	}
	for _, e := range d.list(n, "statuses") {
		all = append(all, d.status(e))
	}
	return all
}

func (d *decoder) status(n ast.Node) (r health.StatusRange) {
	s := scalarOf(n)
	low, high, ranged := strings.Cut(s.text, "-")
	if !ranged {
		high = low
	}
	_, err := fmt.Sscanf(low+" "+high, "%d %d", &r.Low, &r.High)
	if s.kind != text && s.kind != number || err != nil || fmt.Sprint(r.Low) != low || fmt.Sprint(r.High) != high ||
		r.Low < 100 || r.High > 599 || r.Low > r.High {
		d.errorf(n, `found %s, expected a status or a range of them, such as 204 or "200-399"`, describe(n))
	}
	return r
}

// body reads what an answer must contain: a text, or ~ and a pattern.
func (d *decoder) body(n ast.Node) func([]byte) error {
	const want = "what the answer contains: a text, or ~ and a regular expression"
	w := d.word(n, want)
	pattern, isPattern := strings.CutPrefix(w.text, "~")
	switch {
	case !w.set():
		return nil
	case !isPattern:
		return health.Contains(w.text)
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		d.errorAt(w.at, "found %s, expected %s: %v", quote(w.text), want, err)
		return nil
	}
	return health.Matches(re)
}

// Defaults of ejections.
var defaultEjection = health.Ejection{Failures: 3, Time: 10 * time.Second, MaxTime: 5 * time.Minute, Share: 0.5}

// ejection reads eject: off, or a mapping.
func (d *decoder) ejection(n ast.Node) *health.Ejection {
	if s := scalarOf(n); s.kind != notScalar {
		if s.text != "off" {
			d.errorf(n, "found %s, expected off or a mapping with failures, window, time, max_time and share", describe(n))
		}
		return nil
	}
	e := defaultEjection
	e.MaxTime = 0
	keys := d.mapping(n, "eject", fields{
		"failures": func(n ast.Node) { e.Failures = d.integer(n, 1, mostStreak) },
		"window":   func(n ast.Node) { e.Window = d.duration(n, probeSpan) },
		"time":     func(n ast.Node) { e.Time = d.duration(n, probeSpan) },
		"max_time": func(n ast.Node) { e.MaxTime = d.duration(n, probeSpan) },
		"share":    func(n ast.Node) { e.Share = d.decimal(n, 0.01, 1) },
	})
	if e.MaxTime > 0 && e.MaxTime < e.Time {
		d.errorAt(keys["max_time"], "the max_time (%s) is shorter than the time (%s)", written(e.MaxTime), written(e.Time))
	}
	e.MaxTime = cmp.Or(e.MaxTime, defaultEjection.MaxTime)
	return &e
}
