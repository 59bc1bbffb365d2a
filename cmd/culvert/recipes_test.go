package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"culvert/l4/terminate/mattermosttest"
)

// The blocks of docs/mattermost.md are run as they stand there, but for names,
// paths and addresses. A block says what it is and whose: "yaml passthrough"
// is the configuration of the recipe passthrough, "json passthrough" what its
// nodes are set to, and "console passthrough" commands, each after "$ ", with
// the output to expect, in which "..." stands for anything, alone on a line
// for any lines; "nginx from-stream" is what an operator has before. Blocks
// that say nothing are to be read only.

// recipe is what the guide has under one name.
type recipe struct {
	name, yaml, settings, nginx string
	console                     []string
	before                      int // how many of console come before yaml, and so before culvert starts
}

var guideBlock = regexp.MustCompile("(?ms)^```([^\n`]*)\n(.*?)^```$")

// readGuide returns the recipes by name.
func readGuide(t *testing.T) map[string]*recipe {
	t.Helper()
	all := map[string]*recipe{}
	for _, m := range guideBlock.FindAllStringSubmatch(string(must(os.ReadFile("../../docs/mattermost.md"))), -1) {
		kind, name, _ := strings.Cut(m[1], " ")
		if m[1] == "" {
			continue
		}
		r := all[name]
		if r == nil {
			r = &recipe{name: name}
			all[name] = r
		}
		if err := r.add(kind, m[2]); err != nil || name == "" {
			t.Errorf("a block %q: %v", m[1], err)
		}
	}
	return all
}

func (r *recipe) add(kind, text string) error {
	switch {
	case kind == "console":
		r.console = append(r.console, text)
	case kind == "yaml" && r.yaml == "":
		r.yaml, r.before = text, len(r.console)
	case kind == "json" && r.settings == "":
		r.settings = text
	case kind == "nginx" && r.nginx == "":
		r.nginx = text
	default:
		return errors.New("nobody runs it")
	}
	return nil
}

// nodeSettings are the parts of a config.json that mattermosttest knows.
type nodeSettings struct {
	ServiceSettings struct {
		SiteURL, ListenAddress, ConnectionSecurity, AllowCorsFrom string
		TrustedProxyIPHeader                                      []string
	}
	ExperimentalSettings struct {
		ClientSideCertEnable bool
		ClientSideCertCheck  mattermosttest.CertificateLogin
	}
	Office365Settings, GitLabSettings struct {
		Enable                                                      bool
		ID                                                          string `json:"Id"`
		Secret, Scope, AuthEndpoint, TokenEndpoint, UserAPIEndpoint string
	}
}

// recipes say which settings a recipe is tried with, and what else it
// promises.
var recipes = map[string]struct {
	settings string // whose; "": its own
	version  int
	check    func(*trial)
}{
	"passthrough":  {version: 11, check: checkPassthrough},
	"terminated":   {version: 11, check: checkTerminated},
	"two-names":    {version: 11, check: checkTwoNames},
	"one-name":     {version: 11, check: checkOneName},
	"certificates": {version: 10, check: (*trial).gate},
	"custom-oauth": {version: 11, check: checkCustomOAuth},
	"from-stream":  {version: 11, settings: "passthrough", check: checkPassthrough},
	"from-http":    {version: 11, settings: "terminated", check: checkTerminated},
}

// TestRecipes runs every recipe of the guide.
func TestRecipes(t *testing.T) {
	need(t, "curl")
	need(t, "openssl")
	guide := readGuide(t)
	for name, r := range guide {
		if _, ok := recipes[name]; !ok || r.yaml == "" || len(r.console) == 0 {
			t.Errorf("recipe %q: nothing checks it, or it has no configuration or no commands", name)
		}
	}
	for name, how := range recipes {
		t.Run(name, func(t *testing.T) {
			if guide[name] == nil {
				t.Fatal("the guide has no such recipe")
			}
			t.Parallel()
			r := *guide[name]
			if how.settings != "" {
				r.settings = guide[how.settings].settings
			}
			x := startTrial(t, &r, how.version)
			how.check(x)
			for x.next < len(r.console) {
				x.step()
			}
		})
	}
}

// TestRecipeOfAGate: the certificates' configuration before a version that has
// no certificate login, which then must not be set.
func TestRecipeOfAGate(t *testing.T) {
	need(t, "openssl")
	r := *readGuide(t)["certificates"]
	if err := tryVersion(r.settings, 10); err != nil {
		t.Error(err)
	}
	if tryVersion(r.settings, 11) == nil {
		t.Error("version 11 starts with certificate login: the guide says that it does not")
	}
	r.settings = readGuide(t)["terminated"].settings
	x := startTrial(t, &r, 11)
	x.gate()
}

// TestRecipeMistakes: nodes that are set for the other recipe show what the
// guide says.
func TestRecipeMistakes(t *testing.T) {
	need(t, "openssl")
	guide := readGuide(t)
	for _, tt := range []struct {
		recipe, settings string
		check            func(*trial, *http.Request)
	}{
		{"terminated", "passthrough", mistakenTLS},
		{"passthrough", "terminated", missingTLS},
	} {
		t.Run(tt.recipe, func(t *testing.T) {
			t.Parallel()
			r := *guide[tt.recipe]
			r.settings = strings.NewReplacer(`":8065"`, `":443"`, `":443"`, `":8065"`).Replace(guide[tt.settings].settings) // the pool's port
			x := startTrial(t, &r, 11)
			tt.check(x, must(http.NewRequest(http.MethodGet, "https://chat.example.com/api/v4/system/ping", nil)))
			x.expect(`msg="server is down"`)
		})
	}
}

// mistakenTLS: the nodes speak TLS, and culvert HTTP.
func mistakenTLS(x *trial, req *http.Request) {
	if res := x.do(x.browser(), req); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.page, "Client sent an HTTP request to an HTTPS server") {
		x.t.Errorf("status %d, %s", res.StatusCode, res.page)
	}
}

// missingTLS: the nodes speak HTTP, and the client TLS.
func missingTLS(x *trial, req *http.Request) {
	if res, err := x.browser().Do(req); err == nil {
		res.Body.Close()
		x.t.Errorf("status %d", res.StatusCode)
	}
	out, _ := exec.Command("openssl", "s_client", "-connect", x.names()["chat.example.com:443"], "-servername", siteName).CombinedOutput()
	if !strings.Contains(string(out), "wrong version number") {
		x.t.Errorf("openssl says\n%s", out)
	}
}

// tryVersion reports whether a node of that version starts with settings.
func tryVersion(settings string, version int) error {
	var s nodeSettings
	if err := json.Unmarshal([]byte(settings), &s); err != nil {
		return err
	}
	m, err := mattermosttest.NewHandler(s.config(version))
	if err == nil {
		m.Close()
	}
	return err
}

// checkPassthrough: any login by a provider works, and the nodes get what the
// client sent, from culvert's address.
func checkPassthrough(x *trial) {
	x.login("https://chat.example.com/oauth/gitlab/login", http.StatusOK)
	x.forge("/login")
	for _, r := range x.requests("/login") {
		if !r.HTTPS || r.Host != siteName || r.ClientIP != "127.0.0.1" {
			x.t.Errorf("a node got %+v", r)
		}
	}
}

// checkTerminated: the same, and the nodes know whose request it is.
func checkTerminated(x *trial) {
	x.login("https://chat.example.com/oauth/gitlab/login", http.StatusOK)
	x.forge("/login")
	for _, r := range x.requests("/login") {
		if !r.HTTPS || r.Host != siteName || r.ClientIP != browserIP || r.Header.Get("X-Forwarded-For") != browserIP {
			x.t.Errorf("a node got %+v", r)
		}
	}
}

// forge asks for a path as a client that claims to be another.
func (x *trial) forge(path string) {
	x.t.Helper()
	req := must(http.NewRequest(http.MethodGet, "https://chat.example.com"+path, nil))
	req.Header.Set("X-Forwarded-For", "192.0.2.1")
	x.do(x.browser(), req)
	if len(x.requests(path)) == 0 {
		x.t.Error("no node got the request")
	}
}

// checkTwoNames: browsers log in at their name; apps get a WebSocket with the
// secret only; a login that begins at the apps' name finds no cookie.
func checkTwoNames(x *trial) {
	x.login("https://chat.example.com/oauth/gitlab/login", http.StatusOK)
	secret := x.secret("first")
	if err := x.dialSocket("apps.example.com", secret); err != nil {
		x.t.Error(err)
	}
	if x.dialSocket("apps.example.com", "") == nil {
		x.t.Error("a WebSocket without the secret is open")
	}
	c := x.browser()
	c.Transport = bearer{c.Transport, secret}
	res := x.do(c, must(http.NewRequest(http.MethodGet, "https://apps.example.com/oauth/gitlab/login", nil)))
	if res.StatusCode != http.StatusBadRequest || !strings.Contains(res.page, "invalid_state_token") {
		x.t.Errorf("a login at the apps' name: status %d\n%s", res.StatusCode, res.page)
	}
}

// checkOneName: a browser without the secret gets through the login, also of
// the mobile app, and no further.
func checkOneName(x *trial) {
	x.login("https://chat.example.com/oauth/gitlab/login", http.StatusForbidden)
	res := x.do(x.browser(), must(http.NewRequest(http.MethodGet, "https://chat.example.com/oauth/gitlab/mobile_login?redirect_to=mattermost%3A%2F%2Fcallback", nil)))
	if res.StatusCode != http.StatusOK || !strings.Contains(res.page, `href="mattermost://callback"`) {
		x.t.Errorf("the mobile app's login: status %d\n%s", res.StatusCode, res.page)
	}
	for _, exempt := range []string{"/error", "/static/main.js", "/login/desktop"} {
		if res := x.do(x.browser(), must(http.NewRequest(http.MethodGet, "https://chat.example.com"+exempt, nil))); res.StatusCode != http.StatusOK {
			x.t.Errorf("%s: status %d", exempt, res.StatusCode)
		}
	}
	hook := must(http.NewRequest(http.MethodPost, "https://chat.example.com/hooks/abc", strings.NewReader("{}")))
	if res := x.do(x.browser(), hook); res.StatusCode != http.StatusNotFound { // mattermosttest's
		x.t.Errorf("a hook: status %d", res.StatusCode)
	}
	first := x.secret("first")
	for x.next < len(x.recipe.console) {
		x.step()
	}
	x.expect(`(?s)(msg="changed files are used" what="pre-auth secrets".*){2}`)
	if text := x.text() + string(must(os.ReadFile(x.dir+"/access.log"))); strings.Contains(text, first) || strings.Contains(text, x.secret("second")) {
		x.t.Error("a secret is in a log")
	}
}

// gate: only the certificate opens it, logins by a provider work behind it,
// and its e-mail is what the node finds whatever the client says.
func (x *trial) gate() {
	x.t.Helper()
	page := x.do(x.browser(), must(http.NewRequest(http.MethodGet, "https://chat.example.com/", nil)))
	if page.StatusCode != http.StatusBadRequest || !strings.Contains(page.page, "A client certificate is required") {
		x.t.Errorf("without a certificate: status %d\n%s", page.StatusCode, page.page)
	}
	if n := len(x.requests("/")); n != 0 {
		x.t.Errorf("%d requests without a certificate got to a node", n)
	}
	x.identity = "mmuser"
	req := must(http.NewRequest(http.MethodGet, "https://chat.example.com/error", nil))
	req.Header.Set("X-SSL-Client-Cert-Subject-DN", "/emailAddress=admin@example.com")
	req.Header["X_ssl_client_cert_subject_dn"] = []string{"/emailAddress=admin@example.com"}
	if res := x.do(x.browser(), req); res.StatusCode != http.StatusOK {
		x.t.Errorf("with a certificate: status %d", res.StatusCode)
	}
	leaf := x.leaf()
	seen := x.requests("/error")
	if len(seen) != 1 {
		x.t.Fatalf("%d requests got to a node, want 1", len(seen))
	}
	subject := seen[0].Header.Get("X-SSL-Client-Cert-Subject-DN")
	if got, want := mattermosttest.CertificateEmail(subject), "mmuser@example.com"; got != want || subject != "/C=US/O=Example/CN=mmuser/emailAddress="+want {
		x.t.Errorf("the node was told %q, in which it finds %q, want %q", subject, got, want)
	}
	if got := strings.ReplaceAll(seen[0].Header.Get("X-SSL-Client-Cert"), " ", ""); got != strings.NewReplacer("\n", "", " ", "").Replace(leaf) {
		x.t.Errorf("the node was given the certificate %q, want %q", got, leaf)
	}
	for name := range seen[0].Header {
		if strings.Contains(name, "_") {
			x.t.Errorf("the node got %s", name)
		}
	}
	x.login("https://chat.example.com/oauth/gitlab/login", http.StatusOK)
}

// checkCustomOAuth: a user is made at the first login, and known at the next.
func checkCustomOAuth(x *trial) {
	x.provider.SetUser(mattermosttest.Profile{ID: 4711, Username: "maria", Email: "maria@example.com", Name: "Maria"})
	for range 2 {
		if page := x.login("https://chat.example.com/oauth/gitlab/login", http.StatusOK); !strings.Contains(page, `<span id="user">maria</span>`) {
			x.t.Errorf("after the login:\n%s", page)
		}
	}
	x.provider.SetUser(mattermosttest.Profile{ID: 0, Username: "nobody", Email: "nobody@example.com"})
	res := x.do(x.browser(), must(http.NewRequest(http.MethodGet, "https://chat.example.com/oauth/gitlab/login", nil)))
	if res.StatusCode != http.StatusInternalServerError {
		x.t.Errorf("a user with id 0: status %d", res.StatusCode)
	}
}

// step runs the next block of commands.
func (x *trial) step() {
	x.t.Helper()
	text := x.recipe.console[x.next]
	x.next++
	for block := range strings.SplitSeq("\n"+text, "\n$ ") {
		if command, want, _ := strings.Cut(block, "\n"); command != "" {
			if want != "" && !strings.HasSuffix(want, "\n") {
				want += "\n"
			}
			x.command(x.swap(command), x.swap(want))
		}
	}
}

func (x *trial) command(command, want string) {
	x.t.Helper()
	cmd := exec.Command("bash", "-c", command)
	cmd.Dir = x.dir
	cmd.Env = append(os.Environ(), "CURL_HOME="+x.dir, "SSL_CERT_FILE="+x.dir+"/ca.pem", "LC_ALL=C")
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil || !matchesOutput(want, string(out)) {
		x.t.Errorf("$ %s\n%s%s%v, want\n%s", command, out, problems.String(), err, want)
	}
}

// matchesOutput compares what came with what the guide shows.
func matchesOutput(want, got string) bool {
	pattern := `\A`
	for line := range strings.Lines(want) {
		if line == "...\n" {
			pattern += `(?:.*\n)*`
			continue
		}
		words := strings.Split(strings.TrimSpace(line), "...")
		for i, w := range words {
			words[i] = regexp.QuoteMeta(w)
		}
		pattern += strings.Join(words, `.*`) + `[ \r]*\n`
	}
	if got != "" && !strings.HasSuffix(got, "\n") {
		got += "\n"
	}
	return regexp.MustCompile(pattern + `\z`).MatchString(got)
}

func TestMatchesOutput(t *testing.T) {
	for _, tt := range []struct {
		name, want, got string
		ok              bool
	}{
		{"nothing", "", "", true},
		{"something for nothing", "", "x\n", false},
		{"the same", "a\nb\n", "a\r\nb", true},
		{"less", "a\nb\n", "a\n", false},
		{"more", "a\n", "a\nb\n", false},
		{"a part of a line", "a...d\n", "abcd\n", true},
		{"lines", "a\n...\nd\n", "a\nb\nc\nd\n", true},
		{"no line", "a\n...\nd\n", "a\nd\n", true},
		{"punctuation", "a.c\n", "abc\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := matchesOutput(tt.want, tt.got); got != tt.ok {
				t.Errorf("got %v, want %v", got, tt.ok)
			}
		})
	}
}

// fetched is a response with its body.
type fetched struct {
	*http.Response
	page string
}

func (x *trial) do(c *http.Client, req *http.Request) fetched {
	x.t.Helper()
	res, err := c.Do(req)
	if err != nil {
		x.t.Fatal(err)
	}
	defer res.Body.Close()
	return fetched{res, string(must(io.ReadAll(res.Body)))}
}

// login follows a login through the provider to its end: the status of the
// last page is as given. It returns that page. The redirect_uri was the same
// at both steps, and the browser has a session.
func (x *trial) login(start string, status int) string {
	x.t.Helper()
	c := x.browser()
	before := len(x.provider.Grants())
	res := x.do(c, must(http.NewRequest(http.MethodGet, start, nil)))
	grants := x.provider.Grants()[before:]
	if want := "https://" + siteName + "/signup/gitlab/complete"; res.StatusCode != status || len(grants) != 1 || grants[0].AuthorizeURI != want || grants[0].TokenURI != want || grants[0].Refused != "" {
		x.t.Errorf("status %d, want %d; grants %+v, want %s at both steps", res.StatusCode, status, grants, want)
	}
	if at := *res.Request.URL; !slices.ContainsFunc(c.Jar.Cookies(&at), func(k *http.Cookie) bool { return k.Name == "MMAUTHTOKEN" }) {
		x.t.Errorf("no session at %s", at.String())
	}
	return res.page
}

// requests are those of a path that got to a node.
func (x *trial) requests(path string) (all []mattermosttest.Request) {
	for _, node := range x.nodes {
		for _, r := range node.Requests() {
			if r.Path == path {
				all = append(all, r)
			}
		}
	}
	return all
}
