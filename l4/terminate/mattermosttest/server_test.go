package mattermosttest

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"culvert/l4/authority"
)

// browser is a client that keeps cookies and reaches addr whatever the name.
func browser(t *testing.T, ca *authority.CA, addr string) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: ca.Pool()},
		DialContext: func(ctx context.Context, network, asked string) (net.Conn, error) {
			if strings.HasPrefix(asked, "chat.example.com:") {
				asked = addr
			}
			return new(net.Dialer).DialContext(ctx, network, asked)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Jar: jar, Timeout: patience}
}

func newTestCA(t *testing.T, names ...string) (*authority.CA, ServerConfig) {
	t.Helper()
	ca, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Certificate(names...)
	if err != nil {
		t.Fatal(err)
	}
	return ca, ServerConfig{Certificate: cert}
}

// TestSSOOverTLS is a browser that logs in at a node with TLS of its own, as
// behind a proxy that only passes it through.
func TestSSOOverTLS(t *testing.T) {
	ca, srv := newTestCA(t, "chat.example.com", "127.0.0.1")
	provider := NewProvider(ProviderConfig{ClientID: "culvert", ClientSecret: "secret"})
	at, err := NewServer(provider, srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(at.Close)
	cluster, err := NewCluster(2, Config{
		SiteURL: "https://chat.example.com", GitLab: provider.Settings(at.URL()), Client: browser(t, ca, ""),
	}, srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)

	client := browser(t, ca, cluster[1].Addr())
	resp, err := client.Get("https://chat.example.com/oauth/gitlab/login")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, _ := io.ReadAll(resp.Body)
	check(t, "status", resp.StatusCode, http.StatusOK)
	check(t, "protocol", resp.Proto, "HTTP/2.0")
	check(t, "node", resp.Header.Get(NodeHeader), "node-2")
	check(t, "logged in", strings.Contains(string(page), `<span id="user">gitlab-user</span>`), true)
	check(t, "server name", cluster[1].Requests()[0].ServerName, "chat.example.com")
	check(t, "first node", len(cluster[0].Requests()), 0)
	g := provider.Grants()[0]
	check(t, "token", g.TokenURI, g.AuthorizeURI)
}

func TestNodeHasNoX25519(t *testing.T) {
	ca, srv := newTestCA(t, "chat.example.com")
	node, err := NewNode(Config{}, srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	for curve, want := range map[tls.CurveID]bool{tls.X25519: false, tls.CurveP256: true, tls.CurveP521: true} {
		conn, err := tls.Dial("tcp", node.Addr(), &tls.Config{
			RootCAs: ca.Pool(), ServerName: "chat.example.com", CurvePreferences: []tls.CurveID{curve},
		})
		if err == nil {
			conn.Close()
		}
		check(t, curve.String(), err == nil, want)
	}
}

func TestNodeStartsAgainAtItsAddress(t *testing.T) {
	db := &Database{}
	node, err := NewNode(Config{Database: db}, ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	addr := node.Addr()
	node.Close()
	if conn, err := net.DialTimeout("tcp", addr, patience); err == nil {
		conn.Close()
		t.Error("a closed node accepts connections")
	}
	again, err := NewNode(Config{Database: db}, ServerConfig{Address: addr})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	resp, err := (&http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}).Get(again.URL() + "/api/v4/system/ping")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	check(t, "status", resp.StatusCode, http.StatusOK)
}

func TestClusterWithAnAddressOrABadConfig(t *testing.T) {
	if _, err := NewCluster(2, Config{}, ServerConfig{Address: "127.0.0.1:0"}); err == nil {
		t.Error("a cluster shares an address")
	}
	if _, err := NewCluster(2, Config{Version: 11, CertificateLogin: CertificatePrimary}, ServerConfig{}); err == nil {
		t.Error("a cluster starts with what a node refuses")
	}
}
