package config

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"culvert/health"
	"culvert/sniff"
)

// checkKinds are the kinds of health checks, as messages list them.
var checkKinds = []string{
	string(CheckMattermost), string(CheckTCP), string(CheckTLS), string(CheckHTTP), string(CheckHTTPS), string(CheckOff),
}

func (k *checker) health(h *Health) {
	k.healthValues(h)
	verified := k.verify(h)
	switch kind := string(h.Check); {
	case kind == "":
		k.require(&h.Source, false, "health", "check")
	case kind == string(CheckOff):
	case !contains(checkKinds, kind):
		k.wrong(h.ValueAt("check"), kind, List(checkKinds)+k.suggest.Hint(kind, checkKinds))
	default:
		k.unusedByCheck(h)
		if verified {
			k.verifyName(h)
		}
		if h.request() && h.Method == "HEAD" && h.Body != "" {
			k.errorAt(h.At("body"), `"body" can never pass with the method HEAD, whose answers have none`)
		}
		k.schedule(h)
	}
}

// healthValues checks each value by itself, whatever the check is.
func (k *checker) healthValues(h *Health) {
	b := bounded{k, &h.Source}
	b.duration("interval", h.Interval, probeSpan)
	b.duration("fast_interval", h.FastInterval, probeSpan)
	b.duration("timeout", h.Timeout, probeSpan)
	b.duration("deep_interval", h.DeepInterval, probeSpan)
	b.integer("rise", h.Rise, 1, maxStreak)
	b.integer("fall", h.Fall, 1, maxStreak)
	b.enumerated("initial", h.Initial, h.Initial <= health.Probe)
	k.certName(&h.Source, h.ServerName)
	k.request(h)
}

// request checks what is asked of a server and wanted of its answer.
func (k *checker) request(h *Health) {
	if h.Method != "" && !methodName.MatchString(h.Method) {
		k.wrong(h.ValueAt("method"), h.Method, "an HTTP method, such as GET")
	}
	if h.Path != "" && (!strings.HasPrefix(h.Path, "/") || !visible.MatchString(h.Path)) {
		k.wrong(h.ValueAt("path"), h.Path, "a path, such as /health")
	}
	if h.Host != "" && (!visible.MatchString(h.Host) || strings.ContainsAny(h.Host, "/@?#")) {
		k.wrong(h.ValueAt("host"), h.Host, "a host name, such as chat.example.com")
	}
	if slices.ContainsFunc(h.Status, func(r health.StatusRange) bool { return r.Low < 100 || r.High > 599 || r.Low > r.High }) {
		k.errorAt(h.ValueAt("status"), `found %v, expected a status or a range of them, such as 204 or "200-399"`, h.Status)
	}
	if _, err := h.match(); err != nil {
		k.wrong(h.ValueAt("body"), h.Body, "what the answer contains: a text, or ~ and a regular expression: "+err.Error())
	}
}

var methodName = regexp.MustCompile(`^[A-Z]+$`)

// visible is the characters that may stand in a part of a request line.
var visible = regexp.MustCompile(`^[!-~]+$`)

// certName checks a name that servers are asked for.
func (k *checker) certName(s *Source, name string) {
	if _, err := sniff.AppendName(nil, name); name != "" && err != nil {
		k.wrong(s.ValueAt("server_name"), name, "a host name, such as chat.example.com")
	}
}

// verify checks the authorities and reports whether certificates are verified
// by any.
func (k *checker) verify(h *Health) bool {
	at := h.ValueAt("verify")
	if h.Verify.System && h.Verify.File != "" {
		k.errorAt(at, "certificates are verified by the system's authorities or by those of a file, not by both")
		return false
	}
	roots, err := h.Verify.roots()
	switch {
	case err == nil:
		return roots != nil
	case h.Verify.System:
		k.errorAt(at, "load the system's certificate authorities: %v", err)
	default:
		k.wrong(at, h.Verify.File, "on, off or the absolute path of a file with certificates in PEM: "+err.Error())
	}
	return false
}

// roots returns the authorities; nil when nothing is verified.
func (v *Verify) roots() (*x509.CertPool, error) {
	switch {
	case v.System:
		return x509.SystemCertPool()
	case v.File == "":
		return nil, nil
	case !filepath.IsAbs(v.File): // it must not depend on where the process was started
		return nil, errors.New("the path must be absolute")
	}
	pem, err := os.ReadFile(v.File)
	if err != nil {
		return nil, cause(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("it has no certificate")
	}
	return pool, nil
}

// cause takes the path out of a file error: the message begins with it.
func cause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// unusedByCheck reports keys that the kind of check does not look at.
func (k *checker) unusedByCheck(h *Health) {
	name := []use{{"server_name", h.ServerName != ""}} // without TLS it is the host that is asked for
	verify := []use{{"verify", h.Verify != Verify{}}}
	host := []use{{"host", h.Host != ""}}
	http := []use{{"method", h.Method != ""}, {"path", h.Path != ""}, {"status", len(h.Status) > 0}, {"body", h.Body != ""}}
	own := []use{{"tls", h.PlainText}, {"deep", h.Deep}, {"deep_interval", h.DeepInterval != 0}} // of mattermost
	switch h.Check {
	case CheckTCP:
		k.ignored(&h.Source, "on a tcp check", name, verify, host, http, own)
	case CheckTLS:
		k.ignored(&h.Source, "on a tls check", host, http, own)
	case CheckHTTP:
		k.ignored(&h.Source, "on an http check", verify, own)
	case CheckHTTPS:
		k.ignored(&h.Source, "on an https check", own)
	case CheckMattermost:
		k.ignored(&h.Source, "on a mattermost check", http)
		if !is(&h.Source, own[1]) {
			k.ignored(&h.Source, `without "deep"`, own[2:])
		}
		if h.PlainText {
			k.ignored(&h.Source, "on a mattermost check without TLS", verify)
		}
	}
}

// verifyName reports certificates that are verified for no name.
func (k *checker) verifyName(h *Health) {
	if h.encrypted() && h.ServerName == "" && !h.Has("server_name") {
		k.errorAt(h.At("verify"), `"verify" needs "server_name", the name that the certificate has to be for`)
	}
}

// schedule sees to it that a probe is over when the next one begins.
func (k *checker) schedule(h *Health) {
	if h.Interval == 0 && h.Has("interval") {
		return // was reported
	}
	interval := h.schedule().Interval
	switch {
	case h.Timeout > interval:
		k.errorAt(h.At("timeout"), "the timeout (%s) is longer than the interval (%s)", written(h.Timeout), written(interval))
	case DefaultHealthTimeout > interval && h.Timeout == 0 && !h.Has("timeout"):
		k.errorAt(h.At("interval"), "the interval (%s) is shorter than the timeout, which is %s if it is not set", written(interval), written(DefaultHealthTimeout))
	}
	if h.FastInterval > interval {
		k.errorAt(h.At("fast_interval"), "the fast_interval (%s) is longer than the interval (%s)", written(h.FastInterval), written(interval))
	}
}
