package yaml

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"culvert/cmd/internal/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestEveryMistakeAtOnce holds every kind of error in one file against the
// whole output.
func TestEveryMistakeAtOnce(t *testing.T) {
	_, _, err := Load("testdata/bad.yaml")
	got := fmt.Sprintln(err)
	const golden = "testdata/bad.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("errors of testdata/bad.yaml (-want +got), rewritten by -update:\n%s", diff)
	}
}

const goodListener = "listeners: [{address: ':443', default: p}]\n"
const goodPool = "pools: {p: {servers: ['10.0.0.1:443']}}\n"

func TestPositions(t *testing.T) {
	tests := []struct {
		name, src string
		want      []string // line:column: message, as a prefix
	}{
		{"empty", "", []string{"f: the file is empty"}},
		{"comments only", "# nothing\n", []string{"f: the file is empty"}},
		{"document marker only", "---\n", []string{"f: the file is empty"}},
		{"a word", "culvert", []string{`f:1:1: found "culvert", expected a mapping`}},
		{"a list", "- a\n", []string{"f:1:1: found a list, expected a mapping"}},
		{"two documents", "loops: 1\n---\nloops: 2\n", []string{"f:3:1: a second YAML document"}},
		{"NUL", "loops: 1\nab\x00", []string{"f:2:3: not a text file: found byte 0x00"}},
		{"not UTF-8", "é: \xff", []string{"f:1:4: not a text file: found byte 0xff"}},
		{"lone carriage return", "loops: 1\rlog: 2", []string{"f:1:9: not a text file: found a carriage return"}},
		{"ELF", "\x7fELF", []string{"f:1:1: not a text file: found byte 0x7f"}},
		{"unclosed list", "loops: [1", []string{"f:1:8: not valid YAML: "}},
		{"unclosed quote", "a: 1\nb: 'x", []string{"f:2:4: not valid YAML: "}},
		{"tab", "a:\n\tb: 1\n", []string{"f:2:"}},
		// goccy/go-yaml issue 890: the parser panics on it.
		{"lone brace after a key", "key:\n}", nil},
		{"lone brace", "loops: 2}", nil},
		{"lone bracket", "]", []string{`f:1:1: found "]", but nothing is open`}},
		{"anchor", "loops: &n 2\n", []string{"f:1:8: YAML anchors are not supported"}},
		{"alias", "loops: *n\nlog: *m\n", []string{"f:1:8: YAML aliases", "f:2:6: YAML aliases"}},
		{"unquoted wildcard", "server_name: *.example.com\n", []string{`f:1:14: YAML aliases are not supported: write the value out, and quote a text that starts with "*"`}},
		{"merge key", "<<: {}\n", []string{"f:1:1: YAML merge keys"}},
		{"tag", "loops: !!int 2\n", []string{"f:1:8: YAML tags"}},
		{"deep list", strings.Repeat("[", 100_000), []string{"f:1:65: nested more than 64 deep"}},
		{"deep block", strings.Repeat("- ", 100_000), []string{"f:1:257: nested more than 64 deep"}},
		{"columns count characters", goodPool + "listeners: [{name: 'é', address: ö, default: p}]", []string{`f:2:34: found "ö"`}},
		{"byte order mark", "\ufefflops: 1\n" + goodListener + goodPool, []string{`f:1:1: unknown key "lops" in the file, did you mean "loops"?`}},
		{"carriage returns", "loops: 1\r\nlops: 1\r\n" + goodListener + goodPool, []string{`f:2:1: unknown key "lops"`}},
		{"no listeners", goodPool, []string{"f:1:1: the file has no listeners"}},
		{"empty listeners", "listeners: []\n", []string{"f:1:12: the list of listeners is empty"}},
		{"key twice", "loops: 1\n" + goodListener + "loops: 2\n" + goodPool, []string{`f:3:1: key "loops" is set twice in the file, first on line 1`}},
		{"a list as key", "? [a]\n: 1\n", nil},
		{"integer overflow", "loops: 99999999999999999999\n" + goodListener + goodPool, []string{`f:1:8: found "99999999999999999999", expected a whole number`}},
		{"octal", "loops: 010\n" + goodListener + goodPool, []string{"f:1:8: found the number 010, expected a whole number"}},
		{"admin on a listener's address", goodListener + goodPool + "admin: {address: '0.0.0.0:443'}\n", []string{"f:3:18: the listener on line 1 has the address :443, which cannot be bound beside 0.0.0.0:443"}},
		{"a wildcard and one of its addresses", "listeners: [{address: ':443', default: p}, {address: '127.0.0.1:443', default: p}]\n" + goodPool,
			[]string{"f:1:54: the listener on line 1 has the address :443, which cannot be bound beside 127.0.0.1:443"}},
		{"an address and its wildcard", "listeners: [{address: '[::1]:443', default: p}, {address: '[::]:443', default: p}]\n" + goodPool,
			[]string{"f:1:59: the listener on line 1 has the address [::1]:443, which cannot be bound beside [::]:443"}},
		{"IPv4's wildcard and one of its addresses", "listeners: [{address: '0.0.0.0:443', default: p}, {address: '127.0.0.1:443', default: p}]\n" + goodPool,
			[]string{"f:1:61: the listener on line 1 has the address 0.0.0.0:443"}},
		{"admin on a wildcard around a listener", "listeners: [{address: '127.0.0.1:9180', default: p}]\n" + goodPool + "admin: {address: ':9180'}\n",
			[]string{"f:3:18: the listener on line 1 has the address 127.0.0.1:9180, which cannot be bound beside :9180"}},
		{"a group that does not exist", goodListener + goodPool + "admin: {socket: /run/a, group: no-such-group}\n",
			[]string{`f:3:32: found "no-such-group", expected the name of a group: this machine has no such group`}},
		{"admin on the same address", goodListener + goodPool + "admin: {address: ':443'}\n", []string{"f:3:18: the listener on line 1 has the address :443 already"}},
		{"control socket on a listener's", "listeners: [{address: 'unix:/run/a', default: p}]\n" + goodPool + "admin: {socket: /run/a}\n",
			[]string{"f:3:17: the listener on line 1 has the address unix:/run/a already"}},
		{"a name that is another's address", "listeners: [{address: ':443', name: ':80', default: p}, {address: ':80', default: p}]\n" + goodPool,
			[]string{`f:1:67: the name ":80" belongs to the listener on line 1 already`}},
		{"two free ports without names", "listeners: [{address: ':0', default: p}, {address: ':0', default: p}]\n" + goodPool,
			[]string{`f:1:52: the name ":0" belongs to the listener on line 1 already`}},
		{"pool from a newer line", "pools:\n  mattermost: {servers: ['10.0.0.1:443']}\nlisteners:\n- address: ':443'\n  default: matermost\n",
			[]string{`f:5:12: there is no pool "matermost", did you mean "mattermost"?`}},
		{"same name by case and dot", `
listeners:
- address: :443
  routes:
  - {server_name: A.example, pool: p}
  - {server_name: [b.example, a.EXAMPLE.], action: close}
  - {server_name: "*.a.example", alpn: [h2, h3], pool: p}
  - {server_name: "*.A.example", alpn: h3, pool: p}
  - {server_name: "~x", pool: p}
  - {server_name: "~x", pool: p}
` + goodPool, []string{
			`f:6:31: "a.EXAMPLE." is routed already on line 5`,
			`f:8:19: "*.A.example" with the ALPN protocol "h3" is routed already on line 7`,
			`f:10:19: "~x" is routed already on line 9`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Parse("f", []byte(tt.src))
			var got config.Errors
			if !errors.As(err, &got) {
				t.Fatalf("error is %v, want Errors", err)
			}
			if tt.want != nil && len(got) != len(tt.want) {
				t.Fatalf("got %d errors, want %d:\n%v", len(got), len(tt.want), got)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(got[i].Error(), want) {
					t.Errorf("got  %s\nwant %s...", got[i], want)
				}
			}
		})
	}
}

// TestAdvice: a mistake that is often made gets the words that end it.
func TestAdvice(t *testing.T) {
	tests := []struct {
		name, where, text string
		want              string // end of the only error
	}{
		{"a URL for a server", inPool, "servers: ['http://10.0.0.1:443']", `: write the address without http://`},
		{"a URL without a port", inPool, "servers: ['https://app.example']", `: write the address without https://`},
		{"a URL to listen on", inListener, "address: 'tcp://0.0.0.0:443'", `: write the address without tcp://`},
		{"reject for plaintext", inListener, "plaintext: reject", `found "reject", expected close or the name of a pool`},
		{"reject for a plain listener", inListener, "pool: reject", `found "reject", expected the name of a pool`},
		{"bounded load without a hash", inPool, "balance: round-robin, bounded_load: 1.2", `policy round-robin, which does not hash, only with client-address, maglev and nginx-hash`},
		{"bounded load beside load", inPool, "balance: random-two, bounded_load: 1.2", `policy random-two, which balances by load already, only with client-address, maglev and nginx-hash`},
		{"every name", inRoute, "server_name: '*', pool: p", `: a wildcard is "*." and a name, for every other name use "default:" of the listener`},
		{"connect in a listener", inLTimeouts, "connect: 1s", `unknown key "connect" in a listener's timeouts: it belongs in a pool's timeouts`},
		{"failover in a listener", inLTimeouts, "failover: 1s", `unknown key "failover" in a listener's timeouts: it belongs in a pool's timeouts`},
		{"hello in a pool", inPTimeouts, "hello: 1s", `unknown key "hello" in a pool's timeouts: it belongs in a listener's timeouts`},
		{"0 for off", inLTimeouts, "half_close: 0", "found the number 0, expected a duration of 10ms to 30d, or off: instead of 0 write off"},
		{"0s for off", inLTimeouts, "idle: 0s", "found 0s, expected a duration of 10ms to 30d, or off: instead of 0 write off"},
		{"0 where off is no value", inPTimeouts, "connect: 0", "the unit is missing (ms, s, m, h, d)"},
		{"space before the unit", inLTimeouts, "idle: 5 m", "or off: no space before the unit"},
		{"space after the unit", inLTimeouts, "idle: 1h 30m", "or off: no space after the unit"},
		{"space before a size's unit", inLimits, "buffer_memory: 64 MiB", ": no space before the unit"},
		{"admin without its key", inFile, "admin: '127.0.0.1:9180'", `found "127.0.0.1:9180", expected a mapping of keys to values for admin, such as {address: "127.0.0.1:9180"}`},
		{"nothing in admin", inFile, "admin: {}", "admin has neither an address nor a socket"},
		{"a control socket as a listener's", inAdmin, "socket: 'unix:/run/a'", `found "unix:/run/a", expected the absolute path of a unix socket, such as /run/culvert/admin.sock: the path of a unix socket must be absolute`},
		{"max_ttl below the default of min_ttl", inDNS, "max_ttl: 500ms", "the max_ttl (500ms) is shorter than the min_ttl (1s)"},
		{"a webhook that is no web address", inNotify, "webhook: 'ftp://a/'", `found "ftp://a/", expected a URL, such as https://example.com/hook`},
		{"proxies switched on", inListener, "proxy_protocol: true", `"proxy_protocol: on" is for unix sockets: here give the addresses of the proxies, or any peer could claim to be any client`},
		{"a time for a header that is off", inListener, "proxy_protocol: off, timeouts: {proxy_header: 1s}", `"proxy_header" has no effect without "proxy_protocol"`},
		{"SRV records of an address", inPool, "servers: ['srv:10.0.0.1']", `: "10.0.0.1" is not the name of SRV records`},
		{"SRV records with a port", inPool, "servers: ['srv:a:443']", `: SRV records say the port: write the name without one`},
		{"health switched on", inPool, "health: true", `found true, expected a text: mattermost, tcp, tls, http, https or off`},
		{"several checks", inPool, "health: [tcp, tls]", `found a list, expected a mapping of keys to values for health`},
		{"a request in a name", inHealth, `server_name: "a\r\nX: b"`, `found "a\r\nX: b", expected a host name, such as chat.example.com`},
		{"an interval misspelt", inHealth, "interval: 500ms, timeout: 500ms, fast_intervl: 100ms", `did you mean "fast_interval"?`},
		{"a timeout misspelt", inHealth, "interval: 1s, timout: 500ms", `did you mean "timeout"?`},
		{"an ejection misspelt", inEject, "time: 10m, max_tim: 20m", `did you mean "max_time"?`},
		{"a pace of nothing", inSessions, "per_second: 5", `"per_second" has no effect without "on_down", "on_removed" or "rebalance"`},
		{"rebalance without a hash", inPool, "balance: random-two, sessions: {rebalance: on}", `policy random-two, which gives clients no server of their own, only with client-address, maglev and nginx-hash`},
		{"a wrong rate beside a wait", inServer, "max_rate: fast, max_wait: 1s", `found "fast", expected a number from 0.01 to 1000000`},
		{"admin switched on", inFile, "admin: on", `found "on", expected a mapping of keys to values for admin, such as {address: "127.0.0.1:9180"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Parse("f", []byte(fileWith(tt.where, tt.text)))
			var got config.Errors
			if !errors.As(err, &got) || len(got) != 1 || !strings.HasSuffix(got[0].Message, tt.want) {
				t.Errorf("got  %v\nwant ...%s", err, tt.want)
			}
		})
	}
}

func TestSyntaxInPlainWords(t *testing.T) {
	const (
		indent = "the indentation does not fit the lines above"
		colon  = `expected "key: value", with a space after the colon`
		behind = "nothing may follow the value: quote it as a whole if this belongs to it"
	)
	tests := []struct{ name, src, want string }{
		{"quote open to the end", "a: 1\nb: 'x", "2:4: the quote that opens here is not closed"},
		{"quote closed by the next", "l:\n  - address: \":443\n    default: p\n    name: \"b\"\n", "2:14: the quote that opens here closes on line 4: is that meant?"},
		{"too far to the left", "l:\n  - a: 'b'\n   c: d\n", "3:4: " + indent},
		{"too far to the right", "l:\n  - a: 'b'\n      c: d\n", "3:7: " + indent},
		{"too far to the right below a plain text", "l:\n- a: b\n  # more\n     c: d\n", "4:6: " + indent},
		{"the same with CRLF", "a: b\r\n c: d\r\n", "2:2: " + indent},
		{"a colon in a text", "a: b: c\n", `1:4: a text with ": " in it must be quoted`},
		{"no colon", "a: 1\nb\n", "2:1: " + colon},
		{"no space after the colon", "a:1\nb: 2\n", "1:1: " + colon},
		{"after a quote", "a: '10s' x\n", "1:10: " + behind},
		{"list not closed", "a: [1", `1:4: the "[" here is not closed`},
		{"list not closed before a key", "a: [1,\n2\nb: 3\n", `3:1: expected "," or "]": a list above is not closed`},
		{"mapping not closed before a key", "a: {b: 1\nc: 2\n", `2:1: expected "," or "}": a mapping above is not closed`},
		{"mapping closed as a list", "a: {b: 1]\n", `1:4: the "{" here is not closed`},
		{"tab", "a:\n\tb: 1\n", "2:1: a tab: indent with spaces"},
		{"reserved", "a: @x\n", "1:4: a text that starts with this character must be quoted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Parse("f", []byte(tt.src))
			at, what, _ := strings.Cut(tt.want, ": ")
			if want := "f:" + at + ": not valid YAML: " + what; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestServerThatIsItsOwnListener(t *testing.T) {
	tests := []struct {
		listen, server string
		want           bool // a warning
	}{
		{":443", "127.0.0.1:443", true},
		{":443", "[::1]:443", true},
		{"0.0.0.0:443", "127.0.0.2:443", true},
		{"0.0.0.0:443", "[::1]:443", false},
		{"10.0.0.1:443", "10.0.0.1:443", true},
		{"unix:/run/a", "unix:/run/a", true},
		{":443", "127.0.0.1:8443", false},
		{":443", "10.0.0.1:443", false},
		{"10.0.0.1:443", "127.0.0.1:443", false},
		{"unix:/run/a", "unix:/run/b", false},
		{":443", "localhost:443", false}, // not resolved
	}
	for _, tt := range tests {
		t.Run(tt.listen+" "+tt.server, func(t *testing.T) {
			_, warnings, err := Parse("f", fmt.Appendf(nil, "listeners: [{address: %q, pool: p}]\npools: {p: {servers: [%q]}}\n", tt.listen, tt.server))
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if tt.want {
				want = "f:2:23: the server " + tt.server + " is the listener on line 1: a connection would come back to this process without end"
			}
			if got := warnings.Error(); got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, MaxSize+1); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "none.yaml")
	for path, want := range map[string]string{
		missing: missing + ": no such file or directory",
		dir:     dir + ": is a directory",
		large:   large + ": the file is larger than 16MiB",
	} {
		if _, _, err := Load(path); err == nil || err.Error() != want {
			t.Errorf("Load(%s): %v, want %s", path, err, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	_, warnings, err := Parse("f", []byte(goodListener+`pools:
  p: {servers: [{address: "10.0.0.1:443", down: true}]}
  spare: {servers: ["10.0.0.1:443"]}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := "f:3:6: every server of the pool p is down\nf:4:3: no listener leads to the pool spare"
	got := warnings.Error()
	// The list of servers starts at its bracket.
	want = strings.Replace(want, "3:6", "3:7", 1)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestHundredThousandRoutes(t *testing.T) {
	f, _, err := Parse("f", manyRoutes(100_000, "p"))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Counts().Routes; got != 100_000 {
		t.Errorf("got %d routes", got)
	}
}

// TestMistakesTimesNames guards the search for the nearest name, which compares
// every mistake with every name: 20,000 with 1,000 would take seconds.
func TestMistakesTimesNames(t *testing.T) {
	src := manyRoutes(20_000, "unknown")
	for i := range 1000 {
		src = fmt.Appendf(src, "  unknown-%03d: {servers: ['10.0.0.1:443']}\n", i)
	}
	_, _, err := Parse("f", src)
	var errs config.Errors
	if !errors.As(err, &errs) || len(errs) != 20_000 {
		t.Fatalf("got %d errors, want 20000", len(errs))
	}
	if want := `f:4:46: there is no pool "unknown"`; errs[0].Error() != want {
		t.Errorf("got %s, want %s", errs[0], want)
	}
}

func manyRoutes(n int, pool string) []byte {
	b := []byte("listeners:\n- address: ':443'\n  routes:\n")
	for i := range n {
		b = fmt.Appendf(b, "  - {server_name: h%06d.example.com, pool: %s}\n", i, pool)
	}
	return append(b, "pools:\n  p: {servers: ['10.0.0.1:443']}\n"...)
}

func BenchmarkHundredThousandRoutes(b *testing.B) {
	src := manyRoutes(100_000, "p")
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Parse("f", src); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzLoad: whatever the bytes, Parse returns either a file that can be built
// or errors whose places lie in the file, in order.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"testdata/full.yaml", "testdata/bad.yaml"} {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	for _, s := range []string{"", "key:\n}", "{? {? ", "{\"\"\":", "0\n0\n", "a: |\n  x", "\ufeff", "? [a]\n: 1", goodListener + goodPool} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		file, _, err := Parse("f", src)
		if err == nil {
			if _, err := file.Unresolved(); err != nil {
				t.Errorf("accepted, but cannot be built: %v", err)
			}
			return
		}
		var errs config.Errors
		if !errors.As(err, &errs) || len(errs) == 0 {
			t.Fatalf("error is %T %v, want Errors", err, err)
		}
		checkPlaces(t, errs, string(src))
	})
}

func checkPlaces(t *testing.T, errs config.Errors, src string) {
	lines := strings.Split(src, "\n")
	last := config.Position{}
	for _, e := range errs {
		at := e.Position
		if at.Line < last.Line || at.Line == last.Line && at.Column < last.Column {
			t.Errorf("%v comes after line %d column %d", e, last.Line, last.Column)
		}
		last = at
		if at.Line == 0 {
			continue
		}
		if at.Line > len(lines) {
			t.Errorf("%v: the file has %d lines", e, len(lines))
			continue
		}
		if n := utf8.RuneCountInString(lines[at.Line-1]); at.Column < 1 || at.Column > n+1 {
			t.Errorf("%v: the line has %d characters", e, n)
		}
	}
}

// TestAddressesBesideEachOther: what the kernel lets be bound at once is no
// mistake.
func TestAddressesBesideEachOther(t *testing.T) {
	load(t, `listeners:
- {address: '0.0.0.0:443', default: p}
- {address: '[::1]:443', default: p}
- {address: '127.0.0.1:8443', default: p}
- {address: '127.0.0.2:8443', default: p}
- {address: '[::]:9443', default: p}
`+goodPool)
}
