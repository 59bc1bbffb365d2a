package main

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"culvert/cmd/internal/yaml"
)

// flagValue is the value of a flag, written as the configuration file writes
// it. It implements pflag.Value.
type flagValue[T comparable] struct {
	to    *T
	kind  string
	parse func(string) (T, error)
	text  func(T) string // of the default
}

// String returns the default, "" for the zero value.
func (f flagValue[T]) String() string {
	var zero T
	if f.to == nil || *f.to == zero {
		return ""
	}
	return f.text(*f.to)
}

// Type says in a command's help what the flag takes.
func (f flagValue[T]) Type() string { return f.kind }

// Set reads a value.
func (f flagValue[T]) Set(text string) (err error) {
	*f.to, err = f.parse(text)
	return err
}

func durationFlag(to *time.Duration) flagValue[time.Duration] {
	return flagValue[time.Duration]{to, "duration", flagDuration, time.Duration.String}
}

// secondsFlag is a duration in seconds.
func secondsFlag(to *float64) flagValue[float64] {
	parse := func(text string) (float64, error) {
		d, err := flagDuration(text)
		return d.Seconds(), err
	}
	return flagValue[float64]{to, "duration", parse, func(s float64) string { return seconds(s).String() }}
}

func flagDuration(text string) (time.Duration, error) {
	d, err := yaml.ParseDuration(text)
	if err != nil {
		return 0, errors.New("expected a duration such as 10m")
	}
	return d, nil
}

// rateFlag is a number per second.
func rateFlag(to *float64) flagValue[float64] {
	parse := func(text string) (float64, error) {
		n, err := strconv.ParseFloat(strings.TrimSuffix(text, "/s"), 64)
		if err != nil || !(n > 0 && n <= math.MaxInt32) {
			return 0, errors.New("expected a rate such as 50/s")
		}
		return n, nil
	}
	return flagValue[float64]{to, "rate", parse, func(n float64) string { return strconv.FormatFloat(n, 'g', -1, 64) + "/s" }}
}

func wholeFlag(to *int) flagValue[int] {
	parse := func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return 0, errors.New("expected a whole number")
		}
		return n, nil
	}
	return flagValue[int]{to, "int", parse, strconv.Itoa}
}
