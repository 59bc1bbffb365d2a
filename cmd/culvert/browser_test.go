package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestSSOInABrowser: Chromium logs in at the provider, where somebody has to
// press a button, and comes back as that user; the site's script is loaded,
// and its WebSocket opens.
func TestSSOInABrowser(t *testing.T) {
	need(t, "chromium")
	guide := readGuide(t)
	for _, name := range []string{"passthrough", "terminated"} {
		t.Run(name, func(t *testing.T) {
			x := newTrial(t, guide[name])
			x.consent = true
			x.start(11)
			page := x.chromium()
			page.open("https://chat.example.com/oauth/gitlab/login")
			page.await("the provider asks", `document.querySelector("#allow") !== null`)
			page.evaluate(`document.querySelector("#allow").click()`)
			page.await("the user is logged in", `document.querySelector("#user")?.textContent === "gitlab-user"`)
			page.await("the site's script has run", `document.documentElement.dataset.script === "loaded"`)
			page.checkSite()
			grants := x.provider.Grants()
			if want := "https://chat.example.com/signup/gitlab/complete"; len(grants) != 1 || grants[0].AuthorizeURI != want || grants[0].TokenURI != want {
				t.Errorf("grants %+v, want %s at both steps", grants, want)
			}
		})
	}
}

// checkSite looks at the site from inside.
func (b *tab) checkSite() {
	b.t.Helper()
	for _, tt := range []struct{ name, expression, want string }{
		{"address", `location.href`, "https://chat.example.com/"},
		{"protocol", `performance.getEntriesByType("navigation")[0].nextHopProtocol`, "h2"},
		{"cookies that scripts see", `document.cookie.split("; ").map(c => c.split("=")[0]).sort().join()`, "MMCSRF,MMUSERID"},
		{"first message of the WebSocket", `new Promise(done => {
			const socket = new WebSocket("wss://chat.example.com/api/v4/websocket");
			socket.onmessage = m => done(JSON.parse(m.data).event);
			socket.onclose = () => done("none");
		})`, "hello"},
	} {
		if got := b.evaluate(tt.expression); got != tt.want {
			b.t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// tab is a page of a headless Chromium, which is driven through a pipe
// (--remote-debugging-pipe, the DevTools protocol: messages are JSON and end
// with a zero byte).
type tab struct {
	t       *testing.T
	out     io.Writer
	in      *bufio.Reader
	session string
	last    int // the ID of the last command
}

// chromium starts a browser that finds the trial's site under its name, and
// trusts the certificates that the site and the provider have.
func (x *trial) chromium() *tab {
	x.t.Helper()
	at := x.names()["chat.example.com:443"]
	provider := strings.TrimPrefix(x.swap("https://id.example.com"), "https://")
	theirs, commands := pipe(x.t)
	answers, ours := pipe(x.t)
	cmd := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe", "--user-data-dir="+x.t.TempDir(),
		"--host-resolver-rules=MAP chat.example.com:443 "+at,
		"--ignore-certificate-errors-spki-list="+keyHash(x.t, at)+","+keyHash(x.t, provider))
	cmd.ExtraFiles = []*os.File{theirs, ours}             // descriptors 3 and 4
	cmd.Env = append(os.Environ(), "HOME="+x.t.TempDir()) // it also writes there
	p := startCommand(x.t, cmd, stderr)
	theirs.Close()
	ours.Close()
	late := time.AfterFunc(browserPatience, func() { _ = p.cmd.Process.Kill() })
	x.t.Cleanup(func() { late.Stop() })
	b := &tab{t: x.t, out: commands, in: bufio.NewReader(answers)}
	target := b.command("Target.createTarget", map[string]any{"url": "about:blank"})
	attached := b.command("Target.attachToTarget", map[string]any{"targetId": target["targetId"], "flatten": true})
	b.session = attached["sessionId"].(string)
	x.t.Cleanup(func() { b.quit(p) })
	return b
}

// browserPatience is for a whole test: a browser that starts for the first
// time on a busy machine needs many seconds.
const browserPatience = 2 * time.Minute

// quit has the browser end by itself, so that no child of it is left that
// writes into the test's directory.
func (b *tab) quit(p *process) {
	_, _ = io.WriteString(b.out, `{"id": 0, "method": "Browser.close"}`+"\x00")
	select {
	case <-p.done:
	case <-time.After(patience):
	}
}

func pipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close(); write.Close() })
	return read, write
}

// keyHash is the hash of the key in a server's certificate, as Chromium wants
// it.
func keyHash(t *testing.T, address string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{ServerName: siteName, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sum := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// command sends a command and returns its result, past events that come in
// between.
func (b *tab) command(method string, params map[string]any) map[string]any {
	b.t.Helper()
	b.last++
	text := must(json.Marshal(map[string]any{"id": b.last, "method": method, "params": params, "sessionId": b.session}))
	if b.session == "" {
		text = must(json.Marshal(map[string]any{"id": b.last, "method": method, "params": params}))
	}
	if _, err := b.out.Write(append(text, 0)); err != nil {
		b.t.Fatal(err)
	}
	for {
		line, err := b.in.ReadBytes(0)
		if err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		var got struct {
			ID     int
			Result map[string]any
			Error  *struct{ Message string }
		}
		if err := json.Unmarshal(bytes.TrimSuffix(line, []byte{0}), &got); err != nil {
			b.t.Fatalf("%v in %q", err, line)
		}
		if got.ID != b.last {
			continue
		}
		if got.Error != nil {
			b.t.Logf("%s: %s", method, got.Error.Message)
		}
		return got.Result
	}
}

func (b *tab) open(url string) {
	b.t.Helper()
	if got := b.command("Page.navigate", map[string]any{"url": url}); got["errorText"] != nil {
		b.t.Fatalf("open %s: %v", url, got["errorText"])
	}
}

// evaluate runs JavaScript in the page and returns what it yields, as text. A
// promise is waited for. While the page changes there may be nothing.
func (b *tab) evaluate(expression string) string {
	b.t.Helper()
	got := b.command("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true})
	result, _ := got["result"].(map[string]any)
	return fmt.Sprint(result["value"])
}

// await waits until an expression is true.
func (b *tab) await(what, expression string) {
	b.t.Helper()
	eventually(b.t, what, func() bool { return b.evaluate(expression) == "true" })
	if b.t.Failed() {
		b.t.Fatalf("at %s:\n%s", b.evaluate("location.href"), b.evaluate("document.documentElement.outerHTML"))
	}
}
