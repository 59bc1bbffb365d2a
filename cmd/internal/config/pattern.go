package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"culvert/sniff"
)

// checkPattern says what is wrong with a route's pattern.
func checkPattern(pattern string) error {
	if expr, ok := strings.CutPrefix(pattern, "~"); ok {
		_, err := regexp.Compile(expr)
		return err
	}
	name := strings.TrimPrefix(pattern, "*.")
	switch {
	case sniff.IsIPLiteral(name):
		return errors.New("an IP address is never a server name (RFC 6066 section 3)")
	case pattern == "*":
		return errors.New(`a wildcard is "*." and a name, for every other name use "default:" of the listener`)
	case strings.Contains(name, "*"):
		return errors.New(`a wildcard is "*." and a name`)
	case strings.HasPrefix(name, "."):
		return fmt.Errorf("write %q for the names below, and the name itself separately", "*"+name)
	}
	if _, err := sniff.AppendName(nil, name); err != nil {
		return errors.New("not a host name in its ASCII form")
	}
	return nil
}

// samePattern returns what two patterns that match the same names share.
func samePattern(pattern string) string {
	if strings.HasPrefix(pattern, "~") {
		return pattern
	}
	star := pattern[:len(pattern)-len(strings.TrimPrefix(pattern, "*."))]
	norm, _ := sniff.AppendName([]byte(star), pattern[len(star):])
	return string(norm)
}
