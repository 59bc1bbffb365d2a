package result

// Verdict is the result of evaluating a bar.
type Verdict int

// The verdicts. A bar is met within the spread when the median misses it and the
// better quartile does not: another run may have another verdict.
const (
	Unknown Verdict = iota // one of the two was not measured
	Met
	MetWithinSpread
	Missed
)

func (v Verdict) String() string {
	return [...]string{"not measured", "met", "met within the spread", "missed"}[v]
}

// Judgement is a bar with the measured value.
type Judgement struct {
	Bar
	Verdict Verdict
	Peer    string // the peer to which Value is a ratio; "" for an absolute bar
	Value   Stat
	AtGoal  bool // the median reaches Goal
}

// Judge compares the measured values with b. For Best it uses the larger of the
// ratios to nginx and to HAProxy.
func (w *Workload) Judge(b Bar, subject string) Judgement {
	against := []string{b.Against}
	if b.Against == Best {
		against = []string{"nginx", "haproxy"}
	}
	j := Judgement{Bar: b}
	for _, p := range against {
		v := w.Ratio(b.Metric, subject, p)
		if b.Against == Absolute {
			p, v = "", w.Summary(b.Metric, subject)
		}
		if v.N > 0 && (j.Value.N == 0 || v.Median > j.Value.Median) {
			j.Peer, j.Value = p, v
		}
	}
	j.Verdict = b.verdict(j.Value)
	j.AtGoal = b.Goal > 0 && j.Value.N > 0 && j.Value.Median <= b.Goal
	return j
}

func (b Bar) verdict(v Stat) Verdict {
	switch {
	case v.N == 0:
		return Unknown
	case v.Median <= b.Max:
		return Met
	case v.Low <= b.Max:
		return MetWithinSpread
	}
	return Missed
}
