package service

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"
)

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
