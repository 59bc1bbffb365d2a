package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"culvert/sniff"
)

// helloBytes returns the hello that crypto/tls sends.
func helloBytes(t *testing.T, cfg *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	sent := make(chan []byte, 1)
	go func() {
		buf := make([]byte, 16<<10)
		n, _ := far.Read(buf)
		far.Close()
		sent <- buf[:n]
	}()
	_ = tls.Client(near, cfg).Handshake() // fails: only its first flight is wanted
	return <-sent
}

func TestSniffSaysWhatTheHelloSays(t *testing.T) {
	hello := helloBytes(t, &tls.Config{ServerName: "chat.example.com", NextProtos: []string{"h2", "\xfa\\\"\n"}})
	readers := map[string]io.Reader{
		"at once":         bytes.NewReader(hello),
		"byte by byte":    iotest.OneByteReader(bytes.NewReader(hello)),
		"data with error": iotest.DataErrReader(bytes.NewReader(hello)),
		"and more behind": io.MultiReader(bytes.NewReader(hello), iotest.ErrReader(errors.New("never read"))),
	}
	for name, r := range readers {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := sniffTo(&out, r); err != nil {
				t.Fatal(err)
			}
			var got facts
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if got.ServerName != "chat.example.com" || got.Length != len(hello) || got.ECH != "none" || len(got.JA4) != 36 {
				t.Errorf("got %+v", got)
			}
			if want := `h2 \xfa\x5c"\x0a`; strings.Join(got.ALPN, " ") != want {
				t.Errorf("alpn %q, want %q", got.ALPN, want)
			}
			if strings.Join(got.Versions, " ") != "TLS 1.3 TLS 1.2" {
				t.Errorf("versions %q", got.Versions)
			}
		})
	}
}

func TestSniffErrors(t *testing.T) {
	hello := helloBytes(t, &tls.Config{ServerName: "chat.example.com"})
	broken := errors.New("broken")
	tests := []struct {
		name string
		in   io.Reader
		want string
	}{
		{"empty", strings.NewReader(""), "no bytes"},
		{"half", bytes.NewReader(hello[:len(hello)/2]), "incomplete hello"},
		{"not TLS", strings.NewReader("SSH-2.0-OpenSSH\r\n"), "reason not_tls, alert none"},
		{"endless record of nothing", endless{}, "reason"},
		{"read error", io.MultiReader(bytes.NewReader(hello[:9]), iotest.ErrReader(broken)), "read standard input: broken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			err := sniffTo(&out, tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if out.Len() > 0 {
				t.Errorf("printed %q", out.String())
			}
		})
	}
}

// endless is a client whose hello never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	// A handshake record of one byte, again and again: type, version, length.
	for i := range p {
		p[i] = []byte{22, 3, 1, 0, 1, 1}[i%6]
	}
	return len(p) / 6 * 6, nil
}

func TestVersionName(t *testing.T) {
	tests := []struct {
		in   uint16
		want string
	}{
		{0x0304, "TLS 1.3"}, {0x0a0a, "GREASE"}, {0xfafa, "GREASE"}, {0x0afa, "0x0AFA"}, {0x7f1c, "0x7F1C"},
	}
	for _, tt := range tests {
		if got := versionName(tt.in); got != tt.want {
			t.Errorf("%#x: got %s, want %s", tt.in, got, tt.want)
		}
	}
}

// TestFactsAreDocumented looks for a row of every key in docs/operating.md.
func TestFactsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "\n## Look at a hello")
	for f := range reflect.TypeFor[facts]().Fields() {
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !regexp.MustCompile("(?m)^\\|[^|]*`" + key + "`").MatchString(table) {
			t.Errorf("docs/operating.md has no row for the key %q", key)
		}
	}
}

func TestPrintable(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"chat.example.com", "chat.example.com"},
		{"a b~", "a b~"},
		{"\x00\x1b[2J\x7f", `\x00\x1b[2J\x7f`},
		{"é\u202e", `\xc3\xa9\xe2\x80\xae`},
		{`\x00`, `\x5cx00`},
	}
	for _, tt := range tests {
		if got := printable(tt.in); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestFactsOfAnAddressForAName(t *testing.T) {
	var h sniff.Hello
	var p sniff.Parser
	// crypto/tls sends no address as a name, so one is put into its hello.
	hello := helloBytes(t, &tls.Config{ServerName: "192x0x2x1"})
	hello = bytes.Replace(hello, []byte("192x0x2x1"), []byte("192.0.2.1"), 1)
	if err := p.Parse(hello, &h); err != nil {
		t.Fatal(err)
	}
	if got := factsOf(&h); !got.IPLiteral || got.ServerName != "" || got.RawName != "192.0.2.1" {
		t.Errorf("got %+v", got)
	}
}
