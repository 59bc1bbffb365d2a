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
		return nil, errors.New("the port is not one from 1 to 65535")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("it can have a host, a port and a path only")
	case u.Path != "" && (u.Path != path.Clean(u.Path) || u.RawPath != ""):
		return nil, errors.New("write the path without escapes, dots and empty segments")
	}
	return u, nil
}
