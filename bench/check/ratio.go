package check

import (
	"fmt"
	"path"
	"slices"
)

// referenceName is the last part of a reference's name.
const referenceName = "reference"

func (n name) isReference() bool { return path.Base(n.Benchmark) == referenceName }

// reference returns the reference of n by its name, "" if there is none.
func (o *output) reference(n name) string {
	for parent := path.Dir(n.Benchmark); parent != "."; parent = path.Dir(parent) {
		if ref := parent + "/" + referenceName; o.rounds[name{n.Package, ref}] != nil {
			return ref
		}
	}
	return ""
}

// ratios returns the time of n relative to its reference, round by round, in
// ascending order.
func (o *output) ratios(n name, reference string) ([]float64, error) {
	ours, theirs := o.rounds[n], o.rounds[name{n.Package, reference}]
	if len(ours) != len(theirs) {
		return nil, fmt.Errorf("%s was measured %d times, and its reference %s %d times", n, len(ours), reference, len(theirs))
	}
	ratios := make([]float64, len(ours))
	for i := range ours {
		if ours[i].nanos == 0 || theirs[i].nanos == 0 {
			return nil, fmt.Errorf("%s or its reference %s takes no time", n, reference)
		}
		ratios[i] = ours[i].nanos / theirs[i].nanos
	}
	slices.Sort(ratios)
	return ratios, nil
}

// memory returns the medians of n's allocations and bytes per operation.
func (o *output) memory(n name) (allocs, bytes int64) {
	var a, b []float64
	for _, f := range o.rounds[n] {
		a, b = append(a, f.allocs), append(b, f.bytes)
	}
	slices.Sort(a)
	slices.Sort(b)
	return int64(median(a)), int64(median(b))
}

// median returns the median of values, at least one, in ascending order.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
