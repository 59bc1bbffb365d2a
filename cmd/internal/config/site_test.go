package config

import (
	"fmt"
	"strings"
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
		"https://chat.example.com:0":      "the port is none",
		"https://chat.example.com:":       "the port is none",
		"https://chat.example.com:77777":  "the port is none",
		"https://a@chat.example.com":      "nothing may stand beside the host, the port and the path",
		"https://chat.example.com/?a":     "nothing may stand beside the host, the port and the path",
		"https://chat.example.com/#a":     "nothing may stand beside the host, the port and the path",
		"https://chat.example.com/a/../b": "the path is not written plainly",
		"https://chat.example.com/a%2fb":  "the path is not written plainly",
		"https://[::1]":                   "it needs a host name",
		"https://chat.example.com:x":      "not a URL",
	} {
		t.Run(text, func(t *testing.T) {
			_, err := Parse("f", []byte(fileWith(inPool, "site_url: '"+text+"'")))
			switch {
			case want == "" && err != nil:
				t.Errorf("got %v, want none", err)
			case want != "" && (err == nil || !strings.HasSuffix(err.Error(), ": "+want)):
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

func TestWays(t *testing.T) {
	l := load(t, `listeners:
  - address: ":443"
    name: tls
    plaintext: p
    default: p
    routes:
      - {server_name: [A.example, "*.b.example"], pool: p}
      - {server_name: c.example, alpn: h2, pool: q}
      - {server_name: d.example, action: close}
  - {address: ":444", pool: q}
pools:
  p: {servers: ["10.0.0.1:443"]}
  q: {servers: ["10.0.0.1:443"], site_url: https://c.example}
`)
	var got []string
	for _, s := range l.file.Sites(l.config) {
		for _, w := range s.Ways {
			got = append(got, fmt.Sprint(s.Pool.Balancer.Name(), s.Mattermost, " ", w.Listener, w.Kind, w.Pattern, w.ALPN))
		}
	}
	want := []string{
		"pfalse tls2[]", "pfalse tls0a.example[]", "pfalse tls0*.b.example[]", "pfalse tls0[]",
		"qtrue tls0c.example[h2]", "qtrue :4443[]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
