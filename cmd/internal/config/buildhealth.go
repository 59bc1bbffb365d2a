package config

import (
	"cmp"
	"regexp"
	"strings"
	"time"

	"culvert/health"
)

// Defaults of health checks. The interval is that of traefik and HAProxy's
// users; rise and fall are HAProxy's.
const (
	DefaultHealthInterval     = 5 * time.Second
	DefaultHealthFastInterval = time.Second // or the interval, if that is less
	DefaultHealthTimeout      = 2 * time.Second
	DefaultHealthRise         = 2
	DefaultHealthFall         = 3
	DefaultDeepInterval       = time.Minute
)

// probes returns how the servers of a pool are probed; nil: not at all.
func (b *builder) probes(p *Pool) *Probes {
	h := p.Health
	if h == nil || h.Check == "" || h.Check == CheckOff {
		return nil
	}
	roots, err := h.Verify.roots()
	if err != nil {
		b.errorAt(h.ValueAt("verify"), "load %s: %v", cmp.Or(h.Verify.File, "the system's certificate authorities"), err)
	}
	out := &Probes{
		Schedule: h.schedule(), Port: h.Port, DeepPace: cmp.Or(h.DeepInterval, DefaultDeepInterval), Mattermost: h.Check == CheckMattermost,
		Check: health.Check{Kind: h.kind(), ServerName: h.ServerName, Roots: roots},
	}
	switch {
	case out.Mattermost:
		out.Check.Request = h.mattermost(false)
		if h.Deep {
			deep := out.Check
			deep.Request = h.mattermost(true)
			out.Deep = &deep
		}
	case h.request():
		match, err := h.match()
		if err != nil {
			b.errorAt(h.ValueAt("body"), "%v", err)
		}
		out.Check.Request = &health.Request{Method: h.Method, Path: h.Path, Host: h.Host, Status: h.Status, Match: match}
	}
	return out
}

func (h *Health) schedule() health.Schedule {
	interval := cmp.Or(h.Interval, DefaultHealthInterval)
	return health.Schedule{
		Interval: interval, Fast: cmp.Or(h.FastInterval, min(DefaultHealthFastInterval, interval)), Timeout: cmp.Or(h.Timeout, DefaultHealthTimeout),
		Rise: cmp.Or(h.Rise, DefaultHealthRise), Fall: cmp.Or(h.Fall, DefaultHealthFall), Initial: h.Initial,
	}
}

// kind returns what a check is below its name: the preset is one of HTTP.
func (h *Health) kind() health.Kind {
	switch {
	case h.Check != CheckMattermost:
		return health.Kind(h.Check)
	case h.PlainText:
		return health.HTTP
	}
	return health.HTTPS
}

// encrypted reports whether the check uses TLS.
func (h *Health) encrypted() bool { return h.kind() == health.TLS || h.kind() == health.HTTPS }

// request reports whether the check makes the request that h describes.
func (h *Health) request() bool { return h.Check == CheckHTTP || h.Check == CheckHTTPS }

func (h *Health) mattermost(deep bool) *health.Request {
	r := health.Mattermost(deep)
	r.Host = h.Host
	return r
}

// match returns what an answer must contain: a text, or "~" and a pattern; nil
// for anything.
func (h *Health) match() (func([]byte) error, error) {
	pattern, isPattern := strings.CutPrefix(h.Body, "~")
	switch {
	case h.Body == "":
		return nil, nil
	case !isPattern:
		return health.Contains(h.Body), nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	return health.Matches(re), nil
}
