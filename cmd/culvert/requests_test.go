package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
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

// TestExpiryIsWarnedOf: a month, a week and a day before, and at the end; once
// each, and anew for another certificate.
func TestExpiryIsWarnedOf(t *testing.T) {
	var out bytes.Buffer
	begun := time.Now()
	ends := begun.Add(40 * 24 * time.Hour)
	e := &expiry{log: slog.New(slog.NewTextHandler(&out, nil)), route: "chat", ends: func() time.Time { return ends }}
	said := ""
	look := func(days int) {
		out.Reset()
		e.look(begun.Add(time.Duration(days) * 24 * time.Hour))
		if out.Len() > 0 {
			said += fmt.Sprint(days, " ")
		}
	}
	for day := range 45 {
		look(day)
	}
	if said != "10 33 39 40 " {
		t.Errorf("warned on the days %s, want 10 33 39 40", said)
	}
	ends = ends.Add(90 * 24 * time.Hour)
	said = ""
	look(45)
	look(101)
	if said != "101 " {
		t.Errorf("of the next one on the days %s, want 101", said)
	}
}
