package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestRequestsAreCounted: by route and status, refusals by reason, secrets by
// label, and when the certificate ends.
func TestRequestsAreCounted(t *testing.T) {
	s := startSite(t, "preauth: {secrets_file: DIR/secrets}")
	c := s.client()
	s.get(c, "/api/v4/system/ping", secretOne)
	s.get(c, "/api/v4/system/ping", "")
	admin := s.expect(`admin on (http://\S+)"`)[1]
	at := `listener="site",route="` + siteName + `"`
	scrape := func() string {
		res, err := http.Get(admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return string(must(io.ReadAll(res.Body)))
	}
	eventually(t, "both are counted", func() bool {
		return strings.Contains(scrape(), `culvert_requests_total{`+at+`,status="403"} 1`)
	})
	text := scrape()
	for _, want := range []string{
		`culvert_requests_total{` + at + `,status="200"} 1`,
		`culvert_requests_refused_total{listener="site",reason="preauth",route="` + siteName + `"} 1`,
		`culvert_preauth_accepted_total{` + at + `,secret="first"} 1`,
		`culvert_certificate_expiry_timestamp_seconds{` + at + `} 1.`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
