package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"culvert/l4/socket"
	"culvert/sniff"
)

// What an address may begin with that is not ip:port or host:port.
const (
	unixPrefix = "unix:"
	srvPrefix  = "srv:"
)

// parseListen reads where to listen. Without an IP address it is all of them:
// IPv6's unspecified address, of a dual-stack socket.
func parseListen(text string) (socket.Addr, error) {
	if path, ok := strings.CutPrefix(text, unixPrefix); ok {
		return parseUnix(path)
	}
	host, port, err := splitPort(text)
	if err != nil {
		return socket.Addr{}, err
	}
	ip := netip.IPv6Unspecified()
	if host != "" {
		if ip, err = netip.ParseAddr(host); err != nil {
			return socket.Addr{}, fmt.Errorf("%s is not an IP address", Quote(host))
		}
	}
	return socket.IP(netip.AddrPortFrom(ip, port)), nil
}

// An endpoint is where a server is: an address, or a name and a port that are
// resolved when the program starts.
type endpoint struct {
	addr socket.Addr // invalid for a name
	host string
	port uint16 // of a host name
	srv  bool   // host is the name of SRV records
}

func (e endpoint) isHost() bool { return e.host != "" }

// key tells names apart that are looked up.
func (e endpoint) key() string {
	if e.srv {
		return srvPrefix + e.host
	}
	return e.host
}

// IsHost reports whether a server's address as written has a host name, which
// [Config.Build] resolves.
func IsHost(address string) bool {
	e, err := parseServer(address)
	return err == nil && e.isHost()
}

// parseServer reads where a server is.
func parseServer(text string) (endpoint, error) {
	if path, ok := strings.CutPrefix(text, unixPrefix); ok {
		a, err := parseUnix(path)
		return endpoint{addr: a}, err
	}
	if name, ok := strings.CutPrefix(text, srvPrefix); ok {
		return endpoint{host: name, srv: true}, checkService(name)
	}
	host, port, err := splitPort(text)
	switch {
	case err != nil:
		return endpoint{}, err
	case host == "":
		return endpoint{}, errors.New("the host is missing")
	case port == 0:
		return endpoint{}, errors.New("port 0 cannot be connected to")
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return endpoint{host: host, port: port}, checkHost(host)
	case ip.IsUnspecified() || ip.IsMulticast():
		return endpoint{}, fmt.Errorf("%s cannot be connected to", ip)
	}
	return endpoint{addr: socket.IP(netip.AddrPortFrom(ip, port))}, nil
}

// checkHost refuses what no resolver can know. A last label of digits alone
// is a mistyped IPv4 address (RFC 3696 section 2).
func checkHost(host string) error {
	norm, err := sniff.AppendName(nil, host)
	if err != nil {
		return fmt.Errorf("%s is neither an IP address nor a host name", Quote(host))
	}
	last := string(norm[strings.LastIndexByte(string(norm), '.')+1:])
	if prefix(last, "0123456789") == len(last) {
		return fmt.Errorf("%s is not an IP address", Quote(host))
	}
	return nil
}

// checkService refuses what cannot be the name of SRV records. Their service
// and protocol begin with an underscore by convention only.
func checkService(name string) error {
	if _, _, err := splitPort(name); err == nil {
		return errors.New("SRV records say the port: write the name without one")
	}
	if checkHost(name) != nil {
		return fmt.Errorf("%s is not the name of SRV records", Quote(name))
	}
	return nil
}

// splitPort is net.SplitHostPort with a numeric port, and errors that say
// what to write instead.
func splitPort(text string) (host string, port uint16, err error) {
	if scheme, _, ok := strings.Cut(text, "://"); ok {
		return "", 0, fmt.Errorf("write the address without %s://", scheme)
	}
	i := strings.LastIndexByte(text, ':')
	if i < 0 || strings.HasSuffix(text, "]") {
		return "", 0, errors.New("the port is missing")
	}
	host, digits := text[:i], text[i+1:]
	inner, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		host, bracketed = strings.CutSuffix(inner, "]")
	}
	if strings.ContainsAny(host, "[]") || strings.Contains(host, ":") != bracketed {
		return "", 0, errors.New("an IPv6 address, and nothing else, is written in brackets")
	}
	v, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || strconv.FormatUint(v, 10) != digits {
		return "", 0, fmt.Errorf("%s is not a port from 0 to 65535", Quote(digits))
	}
	return host, uint16(v), nil
}

func parseUnix(path string) (socket.Addr, error) {
	if !strings.HasPrefix(path, "/") {
		return socket.Addr{}, errors.New("the path of a unix socket must be absolute")
	}
	return socket.Unix(path)
}

// prefix returns the length of the prefix of text made of chars.
func prefix(text, chars string) int {
	return len(text) - len(strings.TrimLeft(text, chars))
}
