package config

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSiteURLs(t *testing.T) {
	for text, want := range map[string]string{
		"https://chat.example.com":        "",
		"https://chat.example.com/":       "",
		"https://chat.example.com:8443/a": "",
		"http://chat.example.com":         "it must begin with https://",
		"chat.example.com":                "it needs a host name",
		"https://":                        "it needs a host name",
		"https:///chat":                   "it needs a host name",
		"https://chat.example.com:443":    "leave :443 out, as browsers do",
		"https://chat.example.com:0":      "the port is not one from 1 to 65535",
		"https://chat.example.com:":       "the port is not one from 1 to 65535",
		"https://chat.example.com:77777":  "the port is not one from 1 to 65535",
		"https://a@chat.example.com":      "it can have a host, a port and a path only",
		"https://chat.example.com/?a":     "it can have a host, a port and a path only",
		"https://chat.example.com/#a":     "it can have a host, a port and a path only",
		"https://chat.example.com/a/../b": "write the path without escapes, dots and empty segments",
		"https://chat.example.com/a%2fb":  "write the path without escapes, dots and empty segments",
		"https://[::1]":                   "it needs a host name",
		"https://chat.example.com:x":      "not a URL",
	} {
		t.Run(text, func(t *testing.T) {
			got := ""
			if _, err := parseSite(text); err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestWays(t *testing.T) {
	server := []*Server{{Address: "10.0.0.1:443"}}
	c := &Config{
		Listeners: []*Listener{
			{Address: ":443", Name: "tls", Plaintext: To("p"), Default: To("p"), Routes: []*Route{
				{ServerNames: Texts("A.example", "*.b.example"), Target: To("p")},
				{ServerNames: Texts("c.example"), ALPN: Texts("h2"), Target: To("q")},
				{ServerNames: Texts("d.example"), Target: Target{Action: Close}},
				{ServerNames: Texts("e.example"), Target: To("r"), Terminate: &Terminate{Certificates: []*KeyPair{goodPair()}}},
			}},
			{Address: ":444", Pool: To("q")},
		},
		Pools: []*Pool{
			{Name: "unused", Servers: server}, {Name: "p", Servers: server}, {Name: "q", Servers: server, SiteURL: "https://c.example/mm/"},
			{Name: "r", Servers: server, Health: &Health{Check: CheckMattermost}},
		},
	}
	var got []string
	for _, s := range build(t, c).Sites() {
		for _, w := range s.Ways {
			got = append(got, fmt.Sprintf("%s %t %v: %s %d %q %v %t", s.Config.Name, s.Mattermost, s.SiteURL, w.Listener, w.Kind, w.Pattern, w.ALPN, w.Settings != nil))
		}
	}
	want := []string{
		`p false <nil>: tls 2 "" [] false`,
		`p false <nil>: tls 0 "a.example" [] false`,
		`p false <nil>: tls 0 "*.b.example" [] false`,
		`p false <nil>: tls 0 "" [] false`,
		`q true https://c.example/mm: tls 0 "c.example" [h2] false`,
		`q true https://c.example/mm: :444 3 "" [] false`,
		`r true <nil>: tls 1 "e.example" [] true`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
