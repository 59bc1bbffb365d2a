package accesslog

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"culvert/l4"
)

func line(r *l4.Record) string {
	var b bytes.Buffer
	newJSON().append(&b, r)
	return b.String()
}

func TestLine(t *testing.T) {
	failedOver := record(8)
	failedOver.Tries = []l4.Try{{Server: "10.0.0.12:443", Reason: l4.ReasonRefused, Duration: 210 * time.Microsecond}}
	rejected := &l4.Record{
		ID: 9, Start: time.Date(2030, 1, 2, 3, 4, 5, 987654321, time.UTC), Listener: "unix",
		Hello: -1, Connect: -1, FirstByte: -1, Total: 0, Reason: l4.ReasonHelloTimeout,
	}
	tests := []struct {
		name string
		r    *l4.Record
		want string
	}{
		{"relayed", record(7), `{"time":"2030-01-02T03:04:06.25Z","msg":"connection","id":7,"client":"192.0.2.7:40000",` +
			`"listener":":443","server_name":"chat.example.com","alpn":"h2,http/1.1","route":"chat.example.com",` +
			`"pool":"mattermost","server":"10.0.0.11:443","tries":[],"bytes_up":517,"bytes_down":4096,` +
			`"hello_ms":1.5,"connect_ms":2,"first_byte_ms":3,"total_ms":1250,"ended_by":"client","reason":"closed"}`},
		{"failed over", failedOver, `{"time":"2030-01-02T03:04:06.25Z","msg":"connection","id":8,"client":"192.0.2.7:40000",` +
			`"listener":":443","server_name":"chat.example.com","alpn":"h2,http/1.1","route":"chat.example.com",` +
			`"pool":"mattermost","server":"10.0.0.11:443","tries":[{"server":"10.0.0.12:443","reason":"connect_refused","ms":0.21}],` +
			`"bytes_up":517,"bytes_down":4096,` +
			`"hello_ms":1.5,"connect_ms":2,"first_byte_ms":3,"total_ms":1250,"ended_by":"client","reason":"closed"}`},
		{"no hello from a unix peer", rejected, `{"time":"2030-01-02T03:04:05.987654Z","msg":"connection","id":9,"client":"",` +
			`"listener":"unix","server_name":"","alpn":"","route":"","pool":"","server":"","tries":[],"bytes_up":0,"bytes_down":0,` +
			`"total_ms":0,"ended_by":"culvert","reason":"hello_timeout"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want+"\n", line(tt.r)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPeerBytesAreEscaped(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"quote and backslash", `a"b\c`, `a\"b\\c`},
		{"line feed", "a\nb", `a\nb`},
		{"escape sequence", "\x1b[31m", `\u001b[31m`},
		{"NUL", "a\x00", `a\u0000`},
		{"DEL", "a\x7f", `a\u007f`},
		{"C1 control", "a\u009b", `a\u009b`},
		{"line separator", "a\u2028\u2029", `a\u2028\u2029`},
		{"right to left override", "a\u202e", `a\u202e`},
		{"accents", "café", `caf\u00e9`},
		{"outside the basic plane", "😀", `\ud83d\ude00`},
		{"last code point", "\U0010ffff", `\udbff\udfff`},
		{"replacement character", "\ufffd", `\ufffd`},
		{"invalid UTF-8", "a\xff\xfeb", `a\ufffd\ufffdb`},
		{"truncated UTF-8", "a\xe2\x80", `a\ufffd\ufffd`},
		{"surrogate in UTF-8", "\xed\xa0\x80", `\ufffd\ufffd\ufffd`},
		{"HTML", "<script>&", `<script>&`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := record(1)
			r.ServerName, r.ALPN = tt.in, tt.in
			got := line(r)
			for _, key := range []string{"server_name", "alpn"} {
				if want := `"` + key + `":"` + tt.want + `"`; !strings.Contains(got, want) {
					t.Errorf("%s is not in %s", want, got)
				}
			}
		})
	}
}

// FuzzLine checks that every record gives one line of printable ASCII that is
// JSON and decodes to the record's values, whatever the peer and the
// configuration contain.
func FuzzLine(f *testing.F) {
	f.Add("chat.example.com", "h2", "10.0.0.1:443", int64(1234567))
	f.Add("\x7f\u2028\u009b\xff\"\\\n", "😀", "\x00", int64(-1))
	f.Add(strings.Repeat("\xf0\x9f\x98", 3), "\xed\xa0\x80", "</script>", int64(1)<<62)
	f.Fuzz(func(t *testing.T, name, alpn, server string, d int64) {
		r := record(1)
		r.ServerName, r.ALPN, r.Server = name, alpn, server
		r.Client = netip.AddrPort{}
		r.FirstByte = time.Duration(d)
		r.Tries = []l4.Try{{Server: server, Duration: time.Duration(d)}}
		got := line(r)
		checkPrintable(t, got)
		var back struct {
			ServerName string `json:"server_name"`
			ALPN       string
			Server     string
			Tries      []try
		}
		if err := json.Unmarshal([]byte(got), &back); err != nil {
			t.Fatalf("%v in %q", err, got)
		}
		for in, out := range map[string]string{name: back.ServerName, alpn: back.ALPN, server: back.Tries[0].Server} {
			if utf8.ValidString(in) && in != out {
				t.Errorf("%q came back as %q", in, out)
			}
		}
	})
}

func checkPrintable(t *testing.T, line string) {
	t.Helper()
	body, ok := strings.CutSuffix(line, "\n")
	if !ok {
		t.Fatalf("no newline at the end of %q", line)
	}
	for i := range len(body) {
		if c := body[i]; c < ' ' || c > '~' {
			t.Fatalf("byte %#x in %q", c, line)
		}
	}
}
