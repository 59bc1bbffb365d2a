package yaml

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"culvert/cmd/internal/config"
	"culvert/l4"
)

const day = 24 * time.Hour

// A span is the durations that a key accepts.
type span struct {
	min, max time.Duration
	off      bool // also the word off, which gives l4.Off
}

// The spans of the keys. 10 ms is the finest clock of the data plane.
// Keepalive times are whole seconds of at most 32767 (tcp(7), MAX_TCP_KEEPIDLE
// and MAX_TCP_KEEPINTVL in linux/tcp.h); TCP_USER_TIMEOUT is milliseconds in
// an int.
var (
	waitSpan      = span{min: 10 * time.Millisecond, max: 30 * day}
	offSpan       = span{min: 10 * time.Millisecond, max: 30 * day, off: true}
	drainSpan     = span{min: 0, max: 30 * day}
	userSpan      = span{min: 10 * time.Millisecond, max: day, off: true}
	keepaliveSpan = span{min: time.Second, max: 9 * time.Hour}
	probeSpan     = span{min: 10 * time.Millisecond, max: day}
	ttlSpan       = span{min: 100 * time.Millisecond, max: day}
	hstsSpan      = span{min: time.Second, max: 10 * 366 * day}
)

func (s span) String() string {
	text := "a duration of " + written(s.min) + " to " + written(s.max)
	if s.off {
		text += ", or off"
	}
	return text
}

// written prints d the way the file writes it.
func written(d time.Duration) string {
	switch {
	case d == 0:
		return "0s"
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}

// duration reads a duration within s.
func (d *decoder) duration(n ast.Node, s span) time.Duration {
	switch scalar := scalarOf(n); {
	case scalar.kind == number && scalar.text == "0" && s.off:
		d.errorf(n, "found %s, expected %s: instead of 0 write off", scalar, s)
	case scalar.kind == number:
		d.errorf(n, "found %s, expected %s: the unit is missing (ms, s, m, h, d)", scalar, s)
	case scalar.kind != text:
		d.errorf(n, "found %s, expected %s", describe(n), s)
	case scalar.text == "off" && s.off:
		return l4.Off
	default:
		return d.durationText(n, scalar.text, s)
	}
	return 0
}

func (d *decoder) durationText(n ast.Node, text string, s span) time.Duration {
	v, err := ParseDuration(text)
	switch {
	case err != nil:
		d.errorf(n, "found %s, expected %s: %v", config.Quote(text), s, err)
	case v == 0 && s.off:
		d.errorf(n, "found %s, expected %s: instead of 0 write off", text, s)
	case v < s.min || v > s.max:
		d.errorf(n, "found %s, expected %s", text, s)
	default:
		return v
	}
	return 0
}

// ParseDuration reads numbers with units, such as 10s, 1h30m or 1.5s. It is
// time.ParseDuration with days and without signs and the units below 1 ms.
func ParseDuration(text string) (time.Duration, error) {
	var sum float64
	for first, rest := true, text; first || rest != ""; first = false {
		digits := rest[:prefix(rest, "0123456789.")]
		rest = rest[len(digits):]
		name := upToDigit(rest)
		rest = rest[len(name):]
		v, err := strconv.ParseFloat(digits, 64)
		if err != nil {
			return 0, errors.New("a duration is a number and a unit, such as 10s")
		}
		unit, err := unitOf(name)
		if err != nil {
			return 0, err
		}
		sum += v * float64(unit)
	}
	if sum > float64(36500*day) {
		return 0, errors.New("it is too long")
	}
	return time.Duration(sum + 0.5), nil
}

func unitOf(name string) (time.Duration, error) {
	switch name {
	case "ms":
		return time.Millisecond, nil
	case "s":
		return time.Second, nil
	case "m":
		return time.Minute, nil
	case "h":
		return time.Hour, nil
	case "d":
		return day, nil
	case "":
		return 0, errors.New("the unit is missing (ms, s, m, h, d)")
	}
	switch bare := strings.Trim(name, " "); {
	case bare == name, unknownUnit(bare):
	case name[0] == ' ':
		return 0, errors.New("no space before the unit")
	default:
		return 0, errors.New("no space after the unit")
	}
	return 0, fmt.Errorf("unknown unit %s, the units are ms, s, m, h and d", config.Quote(name))
}

func unknownUnit(name string) bool {
	_, err := unitOf(name)
	return err != nil
}

// upToDigit returns the start of text that has no digit.
func upToDigit(text string) string {
	if i := strings.IndexAny(text, "0123456789"); i >= 0 {
		return text[:i]
	}
	return text
}

// prefix returns the length of the prefix of text made of chars.
func prefix(text, chars string) int {
	return len(text) - len(strings.TrimLeft(text, chars))
}
