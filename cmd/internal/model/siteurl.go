package config

import (
	"errors"
	"net/url"
	"path"
	"strconv"
	"strings"

	"culvert/sniff"
)

// parseSite reads a site's URL, without a slash at its end.
func parseSite(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(text, "/"))
	if err != nil {
		return nil, errors.New("not a URL")
	}
	if _, err := sniff.AppendName(nil, u.Hostname()); err != nil || u.Hostname() == "" {
		return nil, errors.New("it needs a host name")
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.Scheme != "https":
		return nil, errors.New("it must begin with https://")
	case u.Port() == "443":
		return nil, errors.New("leave :443 out, as browsers do")
	case strings.HasSuffix(u.Host, ":"), u.Port() != "" && (err != nil || port == 0):
		return nil, errors.New("the port is none")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("nothing may stand beside the host, the port and the path")
	case u.Path != "" && (u.Path != path.Clean(u.Path) || u.RawPath != ""):
		return nil, errors.New("the path is not written plainly")
	}
	return u, nil
}
