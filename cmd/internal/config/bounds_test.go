package config

import (
	"testing"
	"time"
)

func TestValuesAsTheyAreWritten(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 10 * time.Millisecond: "10ms", 90 * time.Second: "1m30s", time.Minute: "1m", 2 * time.Hour: "2h", 26 * time.Hour: "26h", 3 * day: "3d",
	} {
		if got := written(d); got != want {
			t.Errorf("written(%d) = %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{1: "1B", 1500: "1500B", kib: "1KiB", 3 * mib: "3MiB", 1024 * gib: "1024GiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("sizeText(%d) = %s, want %s", n, got, want)
		}
	}
	for v, want := range map[float64]string{0.01: "0.01", 1_000_000: "1000000", 2.5: "2.5"} {
		if got := decimalText(v); got != want {
			t.Errorf("decimalText(%v) = %s, want %s", v, got, want)
		}
	}
}
