package yaml

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/goccy/go-yaml/ast"

	"culvert/cmd/internal/config"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// size reads a number of bytes between low and high.
func (d *decoder) size(n ast.Node, low, high int64) int64 {
	want := fmt.Sprintf("a size of %s to %s", sizeText(low), sizeText(high))
	switch scalar := scalarOf(n); {
	case scalar.kind == number:
		d.errorf(n, "found %s, expected %s: the unit is missing (B, KiB, MiB, GiB)", scalar, want)
	case scalar.kind != text:
		d.errorf(n, "found %s, expected %s", describe(n), want)
	default:
		v, err := parseSize(scalar.text)
		if err == nil && v >= low && v <= high {
			return v
		}
		if err != nil {
			want += ": " + err.Error()
		}
		d.errorf(n, "found %s, expected %s", config.Quote(scalar.text), want)
	}
	return 0
}

// parseSize reads a whole number with the unit B, KiB, MiB or GiB.
func parseSize(text string) (int64, error) {
	digits := text[:prefix(text, "0123456789")]
	v, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, errors.New("a size is a whole number and a unit, such as 32KiB")
	}
	unit := int64(1)
	switch name := text[len(digits):]; name {
	case "B":
	case "KiB":
		unit = kib
	case "MiB":
		unit = mib
	case "GiB":
		unit = gib
	case "":
		return 0, errors.New("the unit is missing (B, KiB, MiB, GiB)")
	case " B", " KiB", " MiB", " GiB":
		return 0, errors.New("no space before the unit")
	default:
		return 0, fmt.Errorf("unknown unit %s, the units are B, KiB, MiB and GiB", config.Quote(name))
	}
	if v > math.MaxInt64/unit {
		return 0, errors.New("it is too large")
	}
	return v * unit, nil
}

// sizeText prints v the way the file writes it.
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
