package config

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	known := []string{"client-address", "maglev", "nginx-hash", "off", "", "hello", "half_close"}
	tests := []struct{ word, want string }{
		{"client_address", "client-address"},
		{"Maglev", "maglev"},
		{"magelv", "maglev"},
		{"ngnix-hash", "nginx-hash"},
		{"of", "off"},
		{"helo", "hello"},
		{"halfclose", "half_close"},
		{"x", ""},
		{"", ""},
		{"least-connections", ""},
		{strings.Repeat("maglev", 1000), ""},
	}
	for _, tt := range tests {
		if got := nearest(tt.word, known); got != tt.want {
			t.Errorf("nearest(%q) = %q, want %q", tt.word, got, tt.want)
		}
	}
}

func TestDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0},
		{"abc", "acb", 1}, {"abc", "abd", 1}, {"abcd", "acd", 1}, {"kitten", "sitting", 3},
	}
	for _, tt := range tests {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestSuggestionsAreBounded(t *testing.T) {
	var s Suggester
	known := make([]string, maxComparisons)
	known[0] = "hello"
	if s.Near("helo", known) == "" {
		t.Error("the first search found nothing")
	}
	if s.Near("helo", known) != "" {
		t.Error("a search past the bound was made")
	}
}
