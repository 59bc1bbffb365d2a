package config

import (
	"regexp"

	"culvert/l4/terminate"
)

// Limits returns the bounds of requests.
func (t *Terminate) Limits() terminate.Limits {
	return terminate.Limits{
		MaxBody: t.MaxBody, MaxHeader: int(t.MaxHeader), MinBodyRate: t.MinBodyRate, HeaderTimeout: t.HeaderTimeout,
		BodyTimeout: t.BodyTimeout, IdleTimeout: t.IdleTimeout, ResponseTimeout: t.ResponseTimeout,
	}
}

// Strip returns the headers that are taken off requests, and off responses.
func (t *Terminate) Strip() (request, response []string) {
	return values(t.StripRequestHeaders), values(t.StripResponseHeaders)
}

// Pairs returns the files of the certificates.
func (t *Terminate) Pairs() []terminate.KeyPair {
	var all []terminate.KeyPair
	for _, p := range live(t.Certificates) {
		all = append(all, p.Files())
	}
	return all
}

// Files returns the files of p; none for nil.
func (p *KeyPair) Files() terminate.KeyPair {
	if p == nil {
		return terminate.KeyPair{}
	}
	return terminate.KeyPair{Certificate: p.Certificate, Key: p.Key}
}

// HeaderNames returns the headers that carry a client's certificate.
func (c *ClientCertificates) HeaderNames() terminate.HeaderNames {
	return terminate.HeaderNames{Cert: c.Header, SubjectDN: c.SubjectHeader, Email: c.Email}
}

// Unauthorized reports whether the page has the status 401, and not 400.
func (c *ClientCertificates) Unauthorized() bool { return c.Status == 401 }

// Exemptions returns the requests that need no secret: those of the paths and
// of the presets.
func (p *Preauth) Exemptions() (*terminate.Exemptions, error) {
	var all []terminate.Exemption
	for _, x := range live(p.Exempt) {
		e, err := x.exemption()
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	for _, name := range p.Presets {
		preset, _ := terminate.Preset(name.Value)
		all = append(all, preset...)
	}
	return terminate.NewExemptions(p.BasePath, all)
}

func (x *ExemptPath) exemption() (terminate.Exemption, error) {
	e := terminate.Exemption{Methods: x.Methods, Exact: x.Path, Prefix: x.Prefix}
	if x.Pattern == "" {
		return e, nil
	}
	var err error
	e.Pattern, err = regexp.Compile(x.Pattern)
	return e, err
}
