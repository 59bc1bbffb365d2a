package peer

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// served is a request that the server received.
type served struct{ secret, proto, host string }

// httpServer answers "hi", and sends each request to the test.
func httpServer(t *testing.T) (addr string, requests <-chan served) {
	t.Helper()
	ch := make(chan served, 16)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ch <- served{r.Header.Get("X-Mattermost-Preauth-Secret"), r.Header.Get("X-Forwarded-Proto"), r.Host}
		_, _ = io.WriteString(w, "hi")
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), ch
}

// visit asks for / over TLS and HTTP/1.1.
func visit(t *testing.T, addr, secret string) *http.Response {
	t.Helper()
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: waitLimit}, Config: &tls.Config{ServerName: EndedName, InsecureSkipVerify: true}}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(waitLimit))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+EndedName+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if secret != "" {
		r.Header.Set("X-Mattermost-Preauth-Secret", secret)
	}
	if err := r.Write(c); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func TestTLSEndsForThoseWithTheSecret(t *testing.T) {
	through := echoServer(t)
	behind, requests := httpServer(t)
	forEach(t, routers, func(t *testing.T, p Peer) {
		r := begin(t, p, Setup{Servers: []string{through}, HTTP: []string{behind}})
		for _, secret := range []string{"", "wrong", Secret[:len(Secret)-1]} {
			if res := visit(t, r.TLSAddr, secret); res.StatusCode != http.StatusForbidden {
				t.Errorf("secret %q: status %d", secret, res.StatusCode)
			}
		}
		res := visit(t, r.TLSAddr, Secret)
		if body, err := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || string(body) != "hi" || err != nil {
			t.Errorf("with the secret: status %d, %q, %v", res.StatusCode, body, err)
		}
		if got, want := <-requests, (served{"", "https", EndedName}); got != want {
			t.Errorf("the server got %+v, want %+v", got, want)
		}
		if n := len(requests); n > 0 {
			t.Errorf("%d requests more came to the server", n)
		}
		open(t, r.Addr) // the other name is still passed through
		if out := r.generations[0].output(); out != "" && p.Name != "culvert" {
			t.Errorf("it prints%s", out)
		}
	})
}

func TestAnotherIsAPeerOfItsOwn(t *testing.T) {
	through := echoServer(t)
	behind, _ := httpServer(t)
	forEach(t, routers, func(t *testing.T, p Peer) {
		r := begin(t, p, Setup{Servers: []string{through}, HTTP: []string{behind}})
		other, err := r.Another(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(other.Stop)
		r.Stop()
		open(t, other.Addr)
		if res := visit(t, other.TLSAddr, Secret); res.StatusCode != http.StatusOK {
			t.Errorf("status %d", res.StatusCode)
		}
	})
}
