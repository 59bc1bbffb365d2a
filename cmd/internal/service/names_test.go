package service

import (
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
)

// TestRefusedAddressesAreLoggedOnce: names that change one after the other are
// refused for the same reason each time.
func TestRefusedAddressesAreLoggedOnce(t *testing.T) {
	var log strings.Builder
	s := &Service{log: slog.New(slog.NewTextHandler(&log, nil))}
	last := ""
	for _, err := range []error{errors.New("one"), errors.New("one"), errors.New("two"), nil, errors.New("two")} {
		last = s.tellRefused(err, last)
	}
	if got := regexp.MustCompile(`error=\S+`).FindAllString(log.String(), -1); strings.Join(got, " ") != "error=one error=two error=two" {
		t.Errorf("the log has\n%s", log.String())
	}
}
