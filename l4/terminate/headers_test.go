package terminate

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"culvert/l4/terminate/mattermosttest"
)

func TestHeaderNamesMatch(t *testing.T) {
	tests := []struct {
		name, rule string
		want       bool
	}{
		{"X-Ssl-Client-Cert", "X-SSL-Client-Cert", true},
		{"x_ssl_client_cert", "X-SSL-Client-Cert", true},
		{"X_SSL-Client.Cert", "X-SSL-Client-Cert", true},
		{"X-Ssl-Client-Cert", "x_ssl_client_cert", true},
		{"X-Ssl-Client-Certs", "X-SSL-Client-Cert", false},
		{"X-Ssl-Client-Cer", "X-SSL-Client-Cert", false},
		{"Xssl-Client-Cert-", "X-SSL-Client-Cert", false},
		{"X-Forwarded-For", "X-Forwarded-*", true},
		{"X_forwarded_for", "X-Forwarded-*", true},
		{"X-Forwarded-", "X-Forwarded-*", true},
		{"X-Forwarded", "X-Forwarded-*", false},
		{"X-Forward", "X-Forwarded-*", false},
		{"Anything", "*", true},
		{"Anything", "", false},
		{"Star-Any", "Star-*", true},
		{"Star-*", "Star-A", false},
	}
	for _, tt := range tests {
		if got := matchesName(tt.name, tt.rule); got != tt.want {
			t.Errorf("%q under the rule %q: got %v, want %v", tt.name, tt.rule, got, tt.want)
		}
	}
}

// spellings returns spellings of a name that servers may treat as that name.
func spellings(name string) []string {
	under := strings.ReplaceAll(name, "-", "_")
	return []string{
		name, strings.ToLower(name), strings.ToUpper(name),
		under, strings.ToLower(under), strings.ToUpper(under),
		strings.Replace(name, "-", "_", 1), strings.ReplaceAll(name, "-", "."), strings.ReplaceAll(name, "-", "~"),
	}
}

var spoofed = []string{
	"X-SSL-Client-Cert", "X-SSL-Client-Cert-Subject-DN", "X-Mattermost-Preauth-Secret",
	"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Server",
	"X-Forwarded-Prefix", "X-Forwarded-Ssl", "X-Forwarded-User", "X-Real-IP", "Forwarded",
	"Proxy-Connection", "Keep-Alive", "TE", "Proxy-Authorization", "Upgrade",
	"X-Mine", "X-Group-A", "X-Group-",
}

var kept = http.Header{
	"Cookie":             {"MMAUTHTOKEN=a; MMCSRF=b"},
	"Authorization":      {"Bearer c"},
	"X-Requested-With":   {"XMLHttpRequest"},
	"X-Csrf-Token":       {"d"},
	"True-Client-Ip":     {"192.0.2.1"},
	"X-Ssl-Client-Certs": {"one more letter"},
	"X-Groups":           {"no hyphen"},
	"Accept":             {"a", "b"},
	"Empty":              {""},
}

// startCleaner runs a server that cleans the headers of a request as a route
// does, and sends them to got.
func startCleaner(t *testing.T, strip []string) (addr string, got <-chan http.Header) {
	t.Helper()
	headers := make(chan http.Header, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cleanRequest(r.Header, HeaderNames{}, strip)
		headers <- r.Header
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), headers
}

func sendRaw(t *testing.T, addr, request string) (status int) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// Headers that clients must not set are removed in every spelling; all others
// are unchanged.
func TestHeadersSpoofedInRawRequests(t *testing.T) {
	addr, got := startCleaner(t, []string{"x-mine", "X-Group-*"})
	for _, name := range spoofed {
		for _, spelling := range spellings(name) {
			var b strings.Builder
			b.WriteString("GET / HTTP/1.1\r\nHost: a\r\n")
			for name, values := range kept {
				for _, v := range values {
					fmt.Fprintf(&b, "%s: %s\r\n", name, v)
				}
			}
			fmt.Fprintf(&b, "%s: spoofed\r\n%s: again\r\n\r\n", spelling, spelling)
			if status := sendRaw(t, addr, b.String()); status != 200 {
				t.Fatalf("%s: status %d", spelling, status)
			}
			if diff := cmp.Diff(kept, <-got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", spelling, diff)
			}
		}
	}
}

// Headers that net/http interprets and removes itself, but not in other
// spellings.
func TestHopByHopHeadersAreRemovedInAnySpelling(t *testing.T) {
	for _, name := range []string{"Connection", "Transfer-Encoding", "Trailer", "Proxy-Authenticate"} {
		for _, spelling := range spellings(name) {
			h := http.Header{spelling: {"a"}, "Cookie": {"b"}}
			cleanRequest(h, HeaderNames{}, nil)
			if diff := cmp.Diff(http.Header{"Cookie": {"b"}}, h); diff != "" {
				t.Errorf("%s (-want +got):\n%s", spelling, diff)
			}
		}
	}
}

// Some servers treat a name with a space before the colon as another header.
// net/http refuses it, so that cleanRequest need not handle it.
func TestHeadersWithSpaceInNameAreRefused(t *testing.T) {
	addr, _ := startCleaner(t, nil)
	for _, line := range []string{"X-SSL-Client-Cert : a", "X SSL Client Cert: a", " X-SSL-Client-Cert: a", "X-SSL-Client-Cert\x00: a"} {
		if status := sendRaw(t, addr, "GET / HTTP/1.1\r\nHost: a\r\n"+line+"\r\n\r\n"); status != 400 {
			t.Errorf("%q: status %d, want 400", line, status)
		}
	}
}

// Headers that Connection lists are removed before any header is set, so that it
// cannot remove those.
func TestHeadersListedInConnection(t *testing.T) {
	addr, got := startCleaner(t, nil)
	sendRaw(t, addr, "GET / HTTP/1.1\r\nHost: a\r\n"+
		"Connection: keep-alive, x-one,X-SSL-Client-Cert\r\nConnection: ,, x_two , connection\r\n"+
		"X-One: 1\r\nX_Two: 2\r\nX-Three: 3\r\nX-SSL-Client-Cert: a\r\n\r\n")
	h := <-got
	if diff := cmp.Diff(http.Header{"X-Three": {"3"}}, h); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Cleaning a megabyte of Connection and a megabyte of headers is fast.
func TestHeadersListedInConnectionByTheThousand(t *testing.T) {
	h := http.Header{"Connection": {strings.Repeat("a,", 1<<19)}}
	for i := range 100_000 {
		h[fmt.Sprintf("X%d", i)] = []string{""}
	}
	start := time.Now()
	cleanRequest(h, HeaderNames{}, nil)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if len(h) != 100_000 {
		t.Errorf("%d headers are left, want 100000", len(h))
	}
}

func TestHeadersOfOwnNames(t *testing.T) {
	n := HeaderNames{Cert: "X-Client-Pem", SubjectDN: "X-Client-Subject"}
	h := http.Header{"X-Client-Pem": {"a"}, "X_client_subject": {"b"}, "X-Ssl-Client-Cert": {"c"}}
	cleanRequest(h, n, nil)
	if diff := cmp.Diff(http.Header{"X-Ssl-Client-Cert": {"c"}}, h); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHeadersOfResponses(t *testing.T) {
	for _, name := range append(spellings("X-Reject-Reason"), "Server", "X-Debug-A") {
		h := http.Header{name: {"pre-auth"}, "Set-Cookie": {"a"}, "X-Forwarded-For": {"b"}}
		cleanResponse(h, []string{"server", "X-Debug-*"})
		if diff := cmp.Diff(http.Header{"Set-Cookie": {"a"}, "X-Forwarded-For": {"b"}}, h); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestCertHeaders(t *testing.T) {
	root := newRoot(t, "root")
	mine := HeaderNames{Cert: "X-Pem", SubjectDN: "X-Dn", Email: EmailSeveral}
	alice := root.newClient(t, "", withSubject(lineOf(t, emailPart("alice@corp"), utf8Part(oidCN, "Alice"))))
	two := root.newClient(t, "", withSubject(lineOf(t, emailPart("a@b"), emailPart("c@d"))))
	evil := root.newClient(t, "", withSubject(lineOf(t, utf8Part(oidCN, "x/emailAddress=admin@corp"))))
	noSubject := root.newClient(t, "", withSubject(lineOf(t)))

	tests := []struct {
		name  string
		names HeaderNames
		leaf  *signer
		want  http.Header
		isErr bool
	}{
		{"none", HeaderNames{}, nil, http.Header{}, false},
		{"one", HeaderNames{}, alice, http.Header{"X-Ssl-Client-Cert": {HeaderPEM(alice.Certificate)}, "X-Ssl-Client-Cert-Subject-Dn": {"/CN=Alice/emailAddress=alice@corp"}}, false},
		{"own names", mine, alice, http.Header{"X-Pem": {HeaderPEM(alice.Certificate)}, "X-Dn": {"/CN=Alice/emailAddress=alice@corp"}}, false},
		{"two e-mails", HeaderNames{}, two, http.Header{}, true},
		{"two e-mails, allowed", mine, two, http.Header{"X-Pem": {HeaderPEM(two.Certificate)}, "X-Dn": {"/emailAddress=a@b/emailAddress=c@d"}}, false},
		{"injection", HeaderNames{}, evil, http.Header{}, true},
		{"empty subject", HeaderNames{}, noSubject, http.Header{"X-Ssl-Client-Cert": {HeaderPEM(noSubject.Certificate)}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			names := tt.names.withDefaults()
			h := make(http.Header)
			h.Set(names.Cert, "spoofed")
			h.Set(names.SubjectDN, "/emailAddress=admin@corp")
			leaf := tt.leaf
			if leaf == nil {
				leaf = &signer{}
			}
			if err := setCertHeaders(h, tt.names, leaf.Certificate); (err != nil) != tt.isErr {
				t.Errorf("got %v, want an error: %v", err, tt.isErr)
			}
			if diff := cmp.Diff(tt.want, h); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The headers reach a server over HTTP/1.1 as they were set, including the
// certificate, and the server finds the e-mail address.
func TestCertHeadersReachTheServer(t *testing.T) {
	alice := newRoot(t, "root").newClient(t, "", withSubject(lineOf(t, emailPart("alice@corp"), utf8Part(oidCN, "Älice"))))
	got := make(chan http.Header, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	defer s.Close()
	request, err := http.NewRequest("GET", s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := setCertHeaders(request.Header, HeaderNames{}, alice.Certificate); err != nil {
		t.Fatal(err)
	}
	sent := request.Header.Clone()
	response, err := s.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	h := <-got
	for name, values := range sent {
		if !slices.Equal(h[name], values) {
			t.Errorf("%s: got %q, want %q", name, h[name], values)
		}
	}
	if !bytes.Equal(fromHeaderPEM(t, h.Get("X-SSL-Client-Cert")), alice.Raw) {
		t.Error("the certificate did not arrive")
	}
	if email := mattermosttest.CertificateEmail(h.Get("X-SSL-Client-Cert-Subject-DN")); email != "alice@corp" {
		t.Errorf("the server finds %q, want alice@corp", email)
	}
}
