package main

import (
	"testing"
	"time"
)

func TestFlags(t *testing.T) {
	var d time.Duration
	var s, r float64
	var n int
	const duration, rate, whole = "expected a duration such as 10m", "expected a rate such as 50/s", "expected a whole number"
	tests := []struct {
		name, text string
		flag       interface {
			Set(string) error
			String() string
		}
		want, err string
	}{
		{"days", "1d", secondsFlag(&s), "24h0m0s", ""},
		{"a time between looks", "1h30m", durationFlag(&d), "1h30m0s", ""},
		{"a rate", "50/s", rateFlag(&r), "50/s", ""},
		{"a rate without its unit", "0.5", rateFlag(&r), "0.5/s", ""},
		{"a number", "7", wholeFlag(&n), "7", ""},
		{"no unit", "10", secondsFlag(&s), "", duration},
		{"another unit", "10ns", durationFlag(&d), "", duration},
		{"a sign", "-10m", secondsFlag(&s), "", duration},
		{"a rate by the minute", "20/m", rateFlag(&r), "", rate},
		{"a rate of nothing", "0/s", rateFlag(&r), "", rate},
		{"a rate without end", "Inf", rateFlag(&r), "", rate},
		{"a rate that is no number", "NaN", rateFlag(&r), "", rate},
		{"less than none", "-1", wholeFlag(&n), "", whole},
		{"no number", "all", wholeFlag(&n), "", whole},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, s, r, n = 0, 0, 0, 0
			err := tt.flag.Set(tt.text)
			if tt.err != "" && (err == nil || err.Error() != tt.err) || tt.err == "" && err != nil {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if got := tt.flag.String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
