package config

import (
	"strings"
	"testing"
)

func TestParseListen(t *testing.T) {
	tests := []struct{ text, want string }{ // want "": an error
		{":443", "[::]:443"}, {":0", "[::]:0"}, {"0.0.0.0:443", "0.0.0.0:443"}, {"10.0.0.1:443", "10.0.0.1:443"},
		{"[::1]:443", "[::1]:443"}, {"[::ffff:10.0.0.1]:443", "10.0.0.1:443"}, {"[fe80::1%eth0]:443", "[fe80::1%eth0]:443"},
		{"unix:/run/a.sock", "unix:/run/a.sock"},
		{"443", ""}, {"10.0.0.1", ""}, {"::1:443", ""}, {"[::1]", ""}, {"[10.0.0.1]:443", ""}, {"localhost:443", ""}, {":65536", ""},
		{":-1", ""}, {":+1", ""}, {":0443", ""}, {":https", ""}, {":", ""}, {"[[::1]]:443", ""}, {"[::1:443", ""}, {"[]:443", ""},
		{"unix:run/a.sock", ""}, {"unix:", ""}, {"unix:/" + strings.Repeat("a", 107), ""},
	}
	for _, tt := range tests {
		got, err := parseListen(tt.text)
		if (err != nil) != (tt.want == "") || err == nil && got.String() != tt.want {
			t.Errorf("parseListen(%q) = %v, %v; want %q", tt.text, got, err, tt.want)
		}
	}
}

func TestParseServer(t *testing.T) {
	tests := []struct{ text, want string }{ // want "": an error
		{"10.0.0.1:443", "10.0.0.1:443"}, {"[2001:DB8::1]:443", "[2001:db8::1]:443"}, {"unix:/run/a.sock", "unix:/run/a.sock"},
		{"app.example.com:443", "host app.example.com"}, {"app:443", "host app"}, {"my_app.:443", "host my_app."}, {"1a:443", "host 1a"},
		{":443", ""}, {"10.0.0.1:0", ""}, {"0.0.0.0:443", ""}, {"[::]:443", ""}, {"224.0.0.1:443", ""}, {"10.0.0:443", ""},
		{"10.0.0.256:443", ""}, {"1:443", ""}, {"a b:443", ""}, {"app.example.com", ""}, {"https://app:443", ""}, {"bücher:443", ""}, {"a..b:443", ""},
	}
	for _, tt := range tests {
		e, err := parseServer(tt.text)
		got := e.addr.String()
		if e.isHost() {
			got = "host " + e.host
		}
		if (err != nil) != (tt.want == "") || err == nil && got != tt.want {
			t.Errorf("parseServer(%q) = %v, %v; want %q", tt.text, got, err, tt.want)
		}
		if want := strings.HasPrefix(tt.want, "host "); IsHost(tt.text) != want {
			t.Errorf("IsHost(%q) = %t", tt.text, !want)
		}
	}
}
