package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"culvert/health"
)

func TestCheckOfHealth(t *testing.T) {
	const in = "pool p, health: "
	row := func(name string, h Health, want ...string) rule {
		for i := range want {
			want[i] = in + want[i]
		}
		return rule{name, func(c parts) { c.p.Health = &h }, strings.Join(want, "\n")}
	}
	no := func(where string, keys ...string) (all []string) {
		for _, key := range keys {
			all = append(all, fmt.Sprintf("%q has no effect on %s", key, where))
		}
		return all
	}
	every := Health{
		ServerName: "a", Verify: Verify{System: true}, Host: "a", Method: "GET", Path: "/", Status: []health.StatusRange{{Low: 200, High: 200}}, Body: "a",
		PlainText: true, Deep: true, DeepInterval: time.Minute,
	}
	of := func(kind HealthCheck) Health { h := every; h.Check = kind; return h }
	expectRules(t, []rule{
		row("no check", Health{}, "health has no check"),
		row("an unknown check", Health{Check: "matermost"}, `found "matermost", expected mattermost, tcp, tls, http, https or off, did you mean "mattermost"?`),
		row("off with anything", of(CheckOff)),
		row("everything on tcp", of(CheckTCP), no("a tcp check", "server_name", "verify", "host", "method", "path", "status", "body", "tls", "deep", "deep_interval")...),
		row("everything on tls", of(CheckTLS), no("a tls check", "host", "method", "path", "status", "body", "tls", "deep", "deep_interval")...),
		row("everything on http", of(CheckHTTP), no("an http check", "verify", "tls", "deep", "deep_interval")...),
		row("everything on https", of(CheckHTTPS), no("an https check", "tls", "deep", "deep_interval")...),
		row("everything on mattermost", of(CheckMattermost),
			append(no("a mattermost check", "method", "path", "status", "body"), no("a mattermost check without TLS", "verify")...)...),
		row("a time of no deep check", Health{Check: CheckMattermost, DeepInterval: time.Minute}, `"deep_interval" has no effect without "deep"`),
		row("verified for no name", Health{Check: CheckTLS, Verify: Verify{System: true}}, `"verify" needs "server_name", the name that the certificate has to be for`),
		row("verified by nothing", Health{Check: CheckTLS, Verify: Verify{File: "/dev/null"}},
			`found "/dev/null", expected on, off or the absolute path of a file with certificates in PEM: it has no certificate`),
		row("verified by no file", Health{Check: CheckTLS, ServerName: "a", Verify: Verify{File: "/none"}},
			`found "/none", expected on, off or the absolute path of a file with certificates in PEM: no such file or directory`),
		row("verified by a relative path", Health{Check: CheckTLS, ServerName: "a", Verify: Verify{File: "no/such.pem"}},
			`found "no/such.pem", expected on, off or the absolute path of a file with certificates in PEM: the path must be absolute`),
		row("verified by both", Health{Check: CheckTLS, ServerName: "a", Verify: Verify{true, "/none"}},
			"certificates are verified by the system's authorities or by those of a file, not by both"),
		row("a body of HEAD", Health{Check: CheckHTTPS, Method: "HEAD", Body: "a"}, `"body" can never pass with the method HEAD, whose answers have none`),
		row("texts of a request", Health{Check: CheckHTTPS, ServerName: "a\r\nX: b", Method: "get", Path: "health", Host: "https://a", Body: "~("},
			`found "a\r\nX: b", expected a host name, such as chat.example.com`,
			`found "get", expected an HTTP method, such as GET`,
			`found "health", expected a path, such as /health`,
			`found "https://a", expected a host name, such as chat.example.com`,
			"found \"~(\", expected what the answer contains: a text, or ~ and a regular expression: error parsing regexp: missing closing ): `(`"),
		row("a status out of range", Health{Check: CheckHTTPS, Status: []health.StatusRange{{Low: 300, High: 200}}},
			`found [{300 200}], expected a status or a range of them, such as 204 or "200-399"`),
		row("numbers out of range", Health{Check: CheckTCP, Interval: -1, FastInterval: -1, Timeout: -1, Rise: -1, Fall: 2000, Initial: 9},
			"interval: found -1ns, expected a duration of 10ms to 1d",
			"fast_interval: found -1ns, expected a duration of 10ms to 1d",
			"timeout: found -1ns, expected a duration of 10ms to 1d",
			"rise: found the number -1, expected a whole number from 1 to 1000",
			"fall: found the number 2000, expected a whole number from 1 to 1000",
			"initial: unknown value 9"),
		row("a deep interval out of range", Health{Check: CheckMattermost, Deep: true, DeepInterval: -1}, "deep_interval: found -1ns, expected a duration of 10ms to 1d"),
		row("slower than the interval", Health{Check: CheckTCP, Interval: time.Second, FastInterval: 2 * time.Second, Timeout: 3 * time.Second},
			"the timeout (3s) is longer than the interval (1s)", "the fast_interval (2s) is longer than the interval (1s)"),
		row("an interval below the default timeout", Health{Check: CheckTCP, Interval: time.Second}, "the interval (1s) is shorter than the timeout, which is 2s if it is not set"),
	})
}
