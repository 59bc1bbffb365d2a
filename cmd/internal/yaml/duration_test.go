package yaml

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration // negative: an error
	}{
		{"10ms", 10 * time.Millisecond}, {"10s", 10 * time.Second}, {"1.5s", 1500 * time.Millisecond},
		{"1h30m", 90 * time.Minute}, {"2d", 48 * time.Hour}, {"0s", 0}, {"1d1h1m1s1ms", 25*time.Hour + time.Minute + time.Second + time.Millisecond},
		{"0.1s", 100 * time.Millisecond},
		{"", -1}, {"10", -1}, {"s", -1}, {"-1s", -1}, {"+1s", -1}, {"1 s", -1}, {"1us", -1}, {"1S", -1}, {"1e3s", -1},
		{".s", -1}, {"1..2s", -1}, {"99999999999d", -1}, {"1s ", -1}, {"off", -1}, {"٣s", -1},
	}
	for _, tt := range tests {
		got, err := ParseDuration(tt.text)
		if (err != nil) != (tt.want < 0) || err == nil && got != tt.want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", tt.text, got, err, tt.want)
		}
	}
}

func TestWrittenDurationsParse(t *testing.T) {
	for _, d := range []time.Duration{0, 10 * time.Millisecond, time.Second, 90 * time.Second, 9 * time.Hour, 30 * day} {
		if got, err := ParseDuration(written(d)); err != nil || got != d {
			t.Errorf("%v is written %s, which is %v, %v", d, written(d), got, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	tests := []struct {
		text string
		want int64 // negative: an error
	}{
		{"0B", 0}, {"10B", 10}, {"32KiB", 32 << 10}, {"64MiB", 64 << 20}, {"2GiB", 2 << 30},
		{"", -1}, {"32", -1}, {"32KB", -1}, {"32k", -1}, {"1.5KiB", -1}, {"-1KiB", -1}, {"KiB", -1}, {"9999999999GiB", -1}, {"99999999999999999999B", -1},
	}
	for _, tt := range tests {
		got, err := parseSize(tt.text)
		if (err != nil) != (tt.want < 0) || err == nil && got != tt.want {
			t.Errorf("parseSize(%q) = %v, %v; want %v", tt.text, got, err, tt.want)
		}
	}
}

func TestWrittenSizesParse(t *testing.T) {
	for _, v := range []int64{1, 1023, kib, 1025, mib, 3 * mib, gib, 1024 * gib} {
		if got, err := parseSize(sizeText(v)); err != nil || got != v {
			t.Errorf("%d is written %s, which is %v, %v", v, sizeText(v), got, err)
		}
	}
}
