package check

import "fmt"

// verdict is the findings of a comparison, one line each.
type verdict struct {
	worse  []string // these fail
	better []string // improvements, which should be accepted into the baseline
}

func (v *verdict) fail(format string, args ...any) {
	v.worse = append(v.worse, fmt.Sprintf(format, args...))
}

// compare compares the measured figures with base. A benchmark that is in only
// one of the two is a failure, so that no benchmark disappears unnoticed.
func (o *output) compare(base *baseline) *verdict {
	v := &verdict{}
	listed := map[name]bool{}
	for i := range base.Benchmarks {
		e := &base.Benchmarks[i]
		listed[e.name] = true
		if o.rounds[e.name] == nil {
			v.fail("%s: in the baseline, but was not measured", e.name)
			continue
		}
		o.compareMemory(e, v)
		if e.Reference != "" {
			o.compareRatio(e, v)
		}
	}
	for _, n := range o.names {
		if !n.isReference() && !listed[n] {
			v.fail("%s: measured, but not in the baseline", n)
		}
	}
	return v
}

func (o *output) compareMemory(e *entry, v *verdict) {
	allocs, bytes := o.memory(e.name)
	e.compareAmount("allocs/op", amount{allocs, e.Allocs, allocsSlack(e.Allocs)}, v)
	e.compareAmount("B/op", amount{bytes, e.Bytes, bytesSlack(e.Bytes)}, v)
}

// amount is a figure with that of the baseline, and the allowed difference.
type amount struct{ got, want, slack int64 }

func (e *entry) compareAmount(unit string, a amount, v *verdict) {
	line := fmt.Sprintf("%s: %d %s, the baseline has %d", e.name, a.got, unit, a.want)
	if a.slack > 0 {
		line += fmt.Sprintf(" and allows %d", a.want+a.slack)
	}
	switch {
	case a.got > a.want+a.slack:
		v.worse = append(v.worse, line)
	case a.got < a.want-a.slack:
		v.better = append(v.better, line)
	}
}

// allocsSlack is 0 below 50 allocations: go test rounds down, so that occasional
// allocations of the runtime do not show. Benchmarks with more allocations are
// slow and run only a few times, so that they do show.
func allocsSlack(allocs int64) int64 { return allocs / 50 }

// bytesSlack is more than 0: one-time allocations are divided by the number of
// operations, which varies, and pools are emptied whenever the garbage collector
// runs. 16 bytes allocated by every operation also show as an allocation.
func bytesSlack(bytes int64) int64 { return 16 + bytes/50 }

func (o *output) compareRatio(e *entry, v *verdict) {
	ratios, err := o.ratios(e.name, e.Reference)
	if err != nil {
		v.fail("%v", err)
		return
	}
	got, limit := median(ratios), e.Ratio*e.Factor
	line := fmt.Sprintf("%s: takes %.3g of %s (%.3g to %.3g in %d rounds), the baseline has %.3g and allows %.3g (factor %g)",
		e.name, got, e.Reference, ratios[0], ratios[len(ratios)-1], len(ratios), e.Ratio, limit, e.Factor)
	switch {
	case ratios[0] > limit: // in every round
		v.worse = append(v.worse, line)
	case ratios[len(ratios)-1] < e.Ratio/e.Factor:
		v.better = append(v.better, line)
	}
}
