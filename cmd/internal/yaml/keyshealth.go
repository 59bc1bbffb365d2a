package yaml

import (
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"culvert/cmd/internal/config"
	"culvert/health"
)

// maxStreak bounds the checks in a row that decide.
const maxStreak = 1000

var checkWords = []string{
	string(config.CheckMattermost), string(config.CheckTCP), string(config.CheckTLS),
	string(config.CheckHTTP), string(config.CheckHTTPS), string(config.CheckOff),
}

var healthKeys = mapping[config.Health]{
	id: "health", what: "health", source: func(h *config.Health) *config.Source { return &h.Source },
	short: func() object { return enumSchema(checkWords) },
	keys: []key[config.Health]{
		{name: "check", required: true, value: oneOf(func(h *config.Health, word string) { h.Check = config.HealthCheck(word) }, checkWords...), example: "mattermost",
			meaning: "what is checked, see below"},
		{name: "interval", def: code(written(config.DefaultHealthInterval)), value: duration(probeSpan, func(h *config.Health) *time.Duration { return &h.Interval }),
			meaning: "between the checks of a server; a tenth more or less, so that they do not come together"},
		{name: "fast_interval", def: code(written(config.DefaultHealthFastInterval)) + ", at most `interval`", value: duration(probeSpan, func(h *config.Health) *time.Duration { return &h.FastInterval }),
			meaning: "the same while the last result contradicts the server's state"},
		{name: "timeout", def: code(written(config.DefaultHealthTimeout)), value: duration(probeSpan, func(h *config.Health) *time.Duration { return &h.Timeout }),
			meaning: "for one check; not more than `interval`"},
		{name: "rise", def: decimalText(config.DefaultHealthRise), value: integer(1, maxStreak, func(h *config.Health) *int { return &h.Rise }),
			meaning: "checks in a row that must pass until a server is up"},
		{name: "fall", def: decimalText(config.DefaultHealthFall), value: integer(1, maxStreak, func(h *config.Health) *int { return &h.Fall }),
			meaning: "checks in a row that must fail until it is down"},
		{name: "initial", def: "`up`", value: oneOf(setInitial, "up", "down", "probe"),
			meaning: "what a server is at the start. `probe`: its first check decides, and nothing is accepted before"},
		{name: "port", def: "the server's", value: integer(1, 1<<16-1, func(h *config.Health) *uint16 { return &h.Port }),
			meaning: "another port to check"},
		{name: "server_name", def: "none", value: textOf("a host name, such as chat.example.com", "", func(h *config.Health) *string { return &h.ServerName }),
			meaning: "SNI, and what the certificate should be for; for http the host"},
		{name: "verify", def: "`off`", value: verify(), example: "on",
			meaning: "`on`: the certificate must be valid, by the system's authorities; a path: by those of a PEM file. Needs `server_name`. `off`: what is wrong with it is only shown"},
		{name: "method", def: "`GET`", value: textOf("an HTTP method, such as GET", "", func(h *config.Health) *string { return &h.Method }),
			meaning: "of the request of http and https"},
		{name: "path", def: "`/`", value: textOf("a path, such as /health", "", func(h *config.Health) *string { return &h.Path }),
			meaning: "of the request"},
		{name: "host", def: "`server_name`", value: textOf("a host name, such as chat.example.com", "", func(h *config.Health) *string { return &h.Host }),
			meaning: "the `Host` of the request"},
		{name: "status", def: "200 to 299", value: statuses(), example: "200-399",
			meaning: "statuses that pass. Redirects are not followed"},
		{name: "body", def: "any", value: textOf("what the answer contains: a text, or ~ and a regular expression", "", func(h *config.Health) *string { return &h.Body }),
			meaning: "text that the response contains, or `~` and a regular expression. The first 64 KiB are looked at; not with `HEAD`"},
		{name: "tls", def: "`on`", value: toggle(false, func(h *config.Health) *bool { return &h.PlainText }),
			meaning: "of mattermost: `off` checks in clear text"},
		{name: "deep", def: "`off`", value: toggle(true, func(h *config.Health) *bool { return &h.Deep }),
			meaning: "of mattermost: check the database and the file store, too, once every `deep_interval`"},
		{name: "deep_interval", def: code(written(config.DefaultDeepInterval)), value: duration(probeSpan, func(h *config.Health) *time.Duration { return &h.DeepInterval }),
			meaning: "how often"},
	},
}

func setInitial(h *config.Health, word string) {
	h.Initial = map[string]health.Initial{"up": health.Up, "down": health.Down, "probe": health.Probe}[word]
}

// healthBlock is a word that says which check, or a mapping.
func healthBlock() kind[config.Pool] {
	k := optional(&healthKeys, func(p *config.Pool) **config.Health { return &p.Health })
	read := k.read
	k.read = func(d *decoder, n ast.Node, p *config.Pool) {
		if scalarOf(n).kind == notScalar {
			read(d, n, p)
			return
		}
		if word := d.oneOf(n, checkWords...); word != "" {
			p.Health = &config.Health{Source: config.Source{Position: d.position(n)}, Check: config.HealthCheck(word)}
		}
	}
	return k
}

// verify is on for the system's authorities, or a file.
func verify() kind[config.Health] {
	const want = "on, off or the absolute path of a file with certificates in PEM"
	return kind[config.Health]{
		typ: "switch or text", span: "`on`, `off`, an absolute path", schema: func() object { return anyOf(object{"type": "boolean"}, textSchema()) },
		read: func(d *decoder, n ast.Node, h *config.Health) {
			if s := scalarOf(n); s.kind == boolean || s.text == "on" || s.text == "off" {
				h.Verify.System, _ = d.toggle(n)
				return
			}
			h.Verify.File = d.text(n, want).Value
		},
	}
}

// statuses is one status or range, or a list of them.
func statuses() kind[config.Health] {
	one := anyOf(integerSchema(100, 599), object{"type": "string", "pattern": "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$"})
	return kind[config.Health]{
		typ: "number, text or list", span: "`204`, `\"200-399\"`", schema: func() object { return anyOf(one, listSchema(one)) },
		read: func(d *decoder, n ast.Node, h *config.Health) {
			if _, ok := n.(*ast.SequenceNode); !ok {
				d.status(n, h)
				return
			}
			for _, e := range d.list(n, "statuses") {
				d.status(e, h)
			}
		},
	}
}

func (d *decoder) status(n ast.Node, h *config.Health) {
	s := scalarOf(n)
	low, high, ranged := strings.Cut(s.text, "-")
	if !ranged {
		high = low
	}
	var r health.StatusRange
	_, err := fmt.Sscanf(low+" "+high, "%d %d", &r.Low, &r.High)
	if s.kind != text && s.kind != number || err != nil || fmt.Sprint(r.Low) != low || fmt.Sprint(r.High) != high ||
		r.Low < 100 || r.High > 599 || r.Low > r.High {
		d.errorf(n, `found %s, expected a status or a range of them, such as 204 or "200-399"`, describe(n))
		return
	}
	h.Status = append(h.Status, r)
}

var ejectKeys = mapping[config.Ejection]{
	id: "eject", what: "eject", source: func(e *config.Ejection) *config.Source { return &e.Source },
	short: func() object { return object{"const": "off"} },
	keys: []key[config.Ejection]{
		{name: "failures", def: decimalText(config.DefaultEjectionFailures), value: integer(1, maxStreak, func(e *config.Ejection) *int { return &e.Failures }),
			meaning: "attempts in a row that fail, before the first byte of an answer, until the server is ejected"},
		{name: "window", def: "none", value: duration(probeSpan, func(e *config.Ejection) *time.Duration { return &e.Window }),
			meaning: "they need not be in a row, only this close together: nginx's max_fails and fail_timeout"},
		{name: "time", def: code(written(config.DefaultEjectionTime)), value: duration(probeSpan, func(e *config.Ejection) *time.Duration { return &e.Time }),
			meaning: "how long. Each further ejection that follows soon is twice as long"},
		{name: "max_time", def: code(written(config.DefaultEjectionMaxTime)), value: duration(probeSpan, func(e *config.Ejection) *time.Duration { return &e.MaxTime }),
			meaning: "up to this"},
		{name: "share", def: decimalText(config.DefaultEjectionShare), value: decimal(0.01, 1, func(e *config.Ejection) *float64 { return &e.Share }),
			meaning: "the largest part of a pool that is ejected at a time; one server may always be, but not the only one"},
	},
}

// ejectBlock is off, or a mapping.
func ejectBlock() kind[config.Pool] {
	k := optional(&ejectKeys, func(p *config.Pool) **config.Ejection { return &p.Ejection })
	read := k.read
	k.read = func(d *decoder, n ast.Node, p *config.Pool) {
		s := scalarOf(n)
		switch {
		case s.kind == notScalar:
			read(d, n, p)
		case s.text == "off":
			p.Ejection = &config.Ejection{Source: config.Source{Position: d.position(n)}, Off: true}
		default:
			d.errorf(n, "found %s, expected off or a mapping with failures, window, time, max_time and share", describe(n))
		}
	}
	return k
}
