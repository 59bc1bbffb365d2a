package report

import (
	"math"
	"strconv"
	"strings"

	"culvert/bench/result"
)

// labels are the names of metrics for people.
var labels = map[string]string{
	"cpu": "CPU", "rate": "rate", "machine_cpu": "machine", "p999": "p99.9", "ping_cpu": "CPU of a ping", "per_cpu": "handshakes",
	"of_process": "of which the process", "fds": "descriptors",
}

func label(m result.Metric) string {
	if l, ok := labels[m.Name]; ok {
		return l
	}
	return m.Name
}

// number writes v with three significant digits and a comma at the thousands;
// "-" if there is none.
func number(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "-"
	case v == 0:
		return "0"
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	if digits <= 0 {
		scale := math.Pow10(-digits)
		return thousands(strconv.FormatFloat(math.Round(v/scale)*scale, 'f', 0, 64))
	}
	return strconv.FormatFloat(v, 'f', min(digits, 3), 64)
}

// tickLabel is number without trailing zeros.
func tickLabel(v float64) string {
	s := number(v)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

func thousands(s string) string {
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 && s[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// spread formats the two quartiles.
func spread(s result.Stat) string {
	if s.N == 0 {
		return "-"
	}
	return number(s.Low) + " to " + number(s.High)
}
