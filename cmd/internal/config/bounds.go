package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"culvert/l4"
)

// Bounds of numbers. Most of the upper ones catch slips of the hand and do not
// say what a machine can do.
const (
	maxConnections = 10_000_000
	maxLoops       = 1024
	maxBacklog     = 1 << 20
	maxTries       = 1 << 14
	maxWeight      = 1<<16 - 1
	maxStreak      = 1000 // checks in a row
	maxPort        = 1<<16 - 1

	// maxKeepaliveCount is MAX_TCP_KEEPCNT of linux/tcp.h.
	maxKeepaliveCount = 127

	minRate, maxRate     = 0.01, 1_000_000
	minBound, maxBound   = 1.001, 100
	minShare, maxShare   = 0.01, 1
	minBudget, maxBudget = 0.01, 100

	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	day = 24 * time.Hour
)

// A span is the durations that a value may have; off is whether it can be
// turned off, by l4.Off.
type span struct {
	min, max time.Duration
	off      bool
}

// The spans. 10 ms is the finest clock of the data plane. Keepalive times are
// whole seconds of at most 32767 (tcp(7), MAX_TCP_KEEPIDLE and
// MAX_TCP_KEEPINTVL in linux/tcp.h); TCP_USER_TIMEOUT is milliseconds in an
// int.
var (
	waitSpan      = span{min: 10 * time.Millisecond, max: 30 * day}
	offSpan       = span{min: 10 * time.Millisecond, max: 30 * day, off: true}
	userSpan      = span{min: 10 * time.Millisecond, max: day, off: true}
	keepaliveSpan = span{min: time.Second, max: 9 * time.Hour}
	idleSpan      = span{min: time.Second, max: 9 * time.Hour, off: true} // of keepalive
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

// written prints d the way a configuration file writes it.
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

// sizeText prints a number of bytes the way a configuration file writes it.
func sizeText(v int64) string {
	switch {
	case v%gib == 0:
		return fmt.Sprintf("%dGiB", v/gib)
	case v%mib == 0:
		return fmt.Sprintf("%dMiB", v/mib)
	case v%kib == 0:
		return fmt.Sprintf("%dKiB", v/kib)
	}
	return fmt.Sprintf("%dB", v)
}

// decimalText prints v the way a configuration file writes it.
func decimalText(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// A bounded checks values of one struct against their bounds. Zero is always
// allowed: it stands for the default.
type bounded struct {
	k *checker
	s *Source
}

func (b bounded) duration(key string, d time.Duration, in span) {
	if d == 0 || in.off && d == l4.Off || d >= in.min && d <= in.max {
		return
	}
	b.k.errorAt(b.s.ValueAt(key), "%sfound %s, expected %s", b.name(key), written(d), in)
}

func (b bounded) integer(key string, v, low, high int) {
	if v != 0 && (v < low || v > high) {
		b.k.errorAt(b.s.ValueAt(key), "%sfound the number %d, expected a whole number from %d to %d", b.name(key), v, low, high)
	}
}

// integerOr is integer for a value that a negative number turns off.
func (b bounded) integerOr(key string, v, low, high int) {
	if v > 0 {
		b.integer(key, v, low, high)
	}
}

func (b bounded) size(key string, v, low, high int64) {
	if v != 0 && (v < low || v > high) {
		b.k.errorAt(b.s.ValueAt(key), "%sfound %s, expected a size of %s to %s", b.name(key), sizeText(v), sizeText(low), sizeText(high))
	}
}

func (b bounded) decimal(key string, v, low, high float64) {
	if v != 0 && !(v >= low && v <= high) { // also what is not a number
		b.k.errorAt(b.s.ValueAt(key), "%sfound the number %s, expected a number from %s to %s", b.name(key), decimalText(v), decimalText(low), decimalText(high))
	}
}

// decimalOr is decimal for a value that a negative number turns off.
func (b bounded) decimalOr(key string, v, low, high float64) {
	if !(v < 0) {
		b.decimal(key, v, low, high)
	}
}

// enumerated reports a value that is none of those there are; ok says whether
// it is one.
func (b bounded) enumerated(key string, v any, ok bool) {
	if !ok {
		b.k.errorAt(b.s.ValueAt(key), "%sunknown value %v", b.name(key), v)
	}
}

// name is how an error without a position begins: with the key.
func (b bounded) name(key string) string {
	if b.s.ValueAt(key).IsValid() {
		return ""
	}
	return key + ": "
}

// lastName returns a key without the group before it.
func lastName(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }
