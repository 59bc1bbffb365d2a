package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// before is the nginx that a recipe takes the place of.
type before struct{ clear, public string } // its addresses

// startBefore runs the configuration that the guide shows for nginx, with the
// trial's nodes behind it.
func (x *trial) startBefore() before {
	x.t.Helper()
	at := before{freeAddress(x.t), freeAddress(x.t)}
	text := strings.NewReplacer("listen 80;", "listen "+at.clear+";", "listen 443", "listen "+at.public).Replace(x.swap(x.recipe.nginx))
	text = strings.Replace(text, "http {", "http { access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;", 1)
	conf := "pid nginx.pid;\nerror_log stderr;\nevents {}\n" + text
	const module = "/usr/lib/nginx/modules/ngx_stream_module.so"
	if _, err := os.Stat(module); err == nil {
		conf = "load_module " + module + ";\n" + conf
	}
	if os.Getuid() == 0 {
		conf = "user root;\n" + conf
	}
	x.writeFile("nginx.conf", []byte(conf))
	cmd := exec.Command("nginx", "-p", x.dir, "-c", "nginx.conf", "-g", "daemon off; master_process off;")
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if x.t.Failed() {
			x.t.Logf("nginx says\n%s", out)
		}
	})
	accepts(x.t, at.public)
	return at
}

// get asks for a URL from an address of its own, and finds the guide's names
// where at says.
func (x *trial) get(from, url string, at map[string]string) *http.Response {
	x.t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: x.ca.Pool()}, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			return d.DialContext(ctx, network, cmp.Or(at[addr], addr))
		},
	}
	res, err := transport.RoundTrip(must(http.NewRequestWithContext(x.t.Context(), http.MethodGet, url, nil)))
	if err != nil {
		x.t.Fatalf("%s: %v", url, err)
	}
	res.Body.Close()
	return res
}

// nodeOf tells which node got a request.
func (x *trial) nodeOf(target string) string {
	for _, node := range x.nodes {
		for _, r := range node.Requests() {
			if r.Target == target {
				return node.Addr()
			}
		}
	}
	return "none"
}

// Coming from a stream block, every client is on the node that it had.
func TestClientsStayWhereNginxHadThem(t *testing.T) {
	need(t, "nginx")
	x := startGuideTrial(t, "from-stream", "passthrough")
	nginx := map[string]string{"chat.example.com:443": x.startBefore().public}
	had := map[string]int{}
	for i := range 60 {
		client := fmt.Sprintf("127.0.%d.%d", i, 2+i)
		before, after := fmt.Sprintf("/login?%d=nginx", i), fmt.Sprintf("/login?%d=culvert", i)
		x.get(client, "https://chat.example.com"+before, nginx)
		x.get(client, "https://chat.example.com"+after, x.names())
		if was, is := x.nodeOf(before), x.nodeOf(after); was != is {
			t.Errorf("%s was on %s, and is on %s", client, was, is)
		} else {
			had[is]++
		}
	}
	if len(had) != 2 {
		t.Errorf("the clients were on %v: this tests less than it says", had)
	}
}

// Coming from an http block, clients and nodes see what they saw.
func TestClientsSeeWhatNginxShowed(t *testing.T) {
	need(t, "nginx")
	x := startGuideTrial(t, "from-http", "terminated")
	nginx := x.startBefore()
	for _, url := range []string{"http://chat.example.com/team?x=1", "https://chat.example.com/login", "https://chat.example.com/api/v4/system/ping"} {
		before := x.get(browserIP, url, map[string]string{"chat.example.com:80": nginx.clear, "chat.example.com:443": nginx.public})
		after := x.get(browserIP, url, x.names())
		if before.StatusCode != after.StatusCode || before.Proto != after.Proto {
			t.Errorf("%s: nginx said %s %s, culvert says %s %s", url, before.Proto, before.Status, after.Proto, after.Status)
		}
		for _, name := range []string{"Location", "Strict-Transport-Security", "Content-Type"} {
			if was, is := before.Header.Get(name), after.Header.Get(name); was != is && name != "Content-Type" || was != is && before.StatusCode == 200 {
				t.Errorf("%s: nginx said %s: %q, culvert says %q", url, name, was, is)
			}
		}
	}
	seen := x.requests("/login")
	if len(seen) != 2 {
		t.Fatalf("the nodes got %+v", seen)
	}
	for _, r := range seen {
		if !r.HTTPS || r.Host != siteName || r.ClientIP != browserIP {
			t.Errorf("a node got %+v", r)
		}
	}
}

// startGuideTrial starts a recipe with the settings of another.
func startGuideTrial(t *testing.T, name, settings string) *trial {
	t.Helper()
	guide := readGuide(t)
	r := *guide[name]
	r.settings = guide[settings].settings
	return startTrial(t, &r, 11)
}
