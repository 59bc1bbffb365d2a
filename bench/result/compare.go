package result

import "fmt"

// Alpha is the probability below which a difference is considered a change.
const Alpha = 0.05

// Change is one figure in two runs.
type Change struct {
	Workload, Peer string
	Metric         Metric
	Old, New       Stat
	P              float64 // probability of such a difference by chance

	// Ratios are those of the subject to To within each run. A change of the
	// subject is judged by them, because a slower machine makes the peers
	// slower as well.
	To                 string // "" if there is no peer to compare with
	OldRatio, NewRatio Stat
	RatioP             float64
}

// Shown reports whether the change is more than noise: the change of the ratio
// if there is one, else that of the figure.
func (c Change) Shown() bool {
	if c.To != "" {
		return c.RatioP < Alpha
	}
	return c.P < Alpha
}

// Factor returns new divided by old, of the ratio if there is one, else of the
// figure.
func (c Change) Factor() float64 {
	if c.To != "" {
		return c.NewRatio.Median / c.OldRatio.Median
	}
	return c.New.Median / c.Old.Median
}

// Comparison is the comparison of two runs.
type Comparison struct {
	Changes  []Change
	Warnings []string // why the runs may not be comparable
}

// Compare compares the headline of each workload that both runs have, for the
// subject.
func Compare(before, after *Report) Comparison {
	c := Comparison{Warnings: differences(before, after)}
	old := map[string]*Workload{}
	for i := range before.Workloads {
		old[before.Workloads[i].Name] = &before.Workloads[i]
	}
	for i := range after.Workloads {
		if w := old[after.Workloads[i].Name]; w != nil {
			c.Changes = append(c.Changes, change(w, &after.Workloads[i], before.Peers[0].Name, after.Peers[0].Name))
		}
	}
	return c
}

func change(before, after *Workload, oldSubject, newSubject string) Change {
	m := after.Headline()
	a, b := before.values(m.Name, oldSubject), after.values(m.Name, newSubject)
	c := Change{Workload: after.Name, Peer: newSubject, Metric: m, Old: NewStat(a), New: NewStat(b), P: mannWhitney(a, b)}
	for _, to := range []string{"nginx", "haproxy"} {
		ra, rb := before.ratios(m.Name, oldSubject, to), after.ratios(m.Name, newSubject, to)
		if len(ra) > 0 && len(rb) > 0 {
			c.To, c.OldRatio, c.NewRatio, c.RatioP = to, NewStat(ra), NewStat(rb), mannWhitney(ra, rb)
			break
		}
	}
	return c
}

func differences(a, b *Report) []string {
	var w []string
	differ := func(what string, x, y any) {
		if x != y {
			w = append(w, fmt.Sprintf("%s differs: %v, now %v", what, x, y))
		}
	}
	differ("the processor", a.Machine.CPU, b.Machine.CPU)
	differ("the number of processors", a.Machine.Cores, b.Machine.Cores)
	differ("the kernel", a.Machine.Kernel, b.Machine.Kernel)
	differ("the congestion control", a.Machine.Congestion, b.Machine.Congestion)
	differ("the length of a measurement", a.Options.Seconds, b.Options.Seconds)
	differ("the number of workers", a.Options.Workers, b.Options.Workers)
	return w
}
