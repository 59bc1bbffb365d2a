package result

import (
	"math"
	"slices"
)

// Stat summarises the rounds of a figure: the median and the quartiles, between
// which half of the rounds are.
type Stat struct {
	Median, Low, High float64
	N                 int // rounds
}

// NewStat summarises v, in any order. Without values all fields are NaN.
func NewStat(v []float64) Stat {
	v = slices.Sorted(slices.Values(v))
	return Stat{Median: quantile(v, 0.5), Low: quantile(v, 0.25), High: quantile(v, 0.75), N: len(v)}
}

// quantile interpolates between the two nearest of sorted values (Hyndman and
// Fan's type 7, which R and NumPy use).
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// Summary is a peer's figures of a metric.
func (w *Workload) Summary(metric, peer string) Stat { return NewStat(w.values(metric, peer)) }

func (w *Workload) values(metric, peer string) []float64 {
	var v []float64
	for _, s := range w.Samples {
		if x, ok := s.Values[metric]; ok && s.Peer == peer {
			v = append(v, x)
		}
	}
	return v
}

// Ratio is the subject's figure divided by the peer's, computed in each round in
// which both have one.
func (w *Workload) Ratio(metric, subject, peer string) Stat {
	return NewStat(w.ratios(metric, subject, peer))
}

func (w *Workload) ratios(metric, subject, peer string) []float64 {
	mine := map[int]float64{}
	for _, s := range w.Samples {
		if x, ok := s.Values[metric]; ok && s.Peer == subject {
			mine[s.Round] = x
		}
	}
	var v []float64
	for _, s := range w.Samples {
		a, ok := mine[s.Round]
		if b, has := s.Values[metric]; ok && has && s.Peer == peer && b != 0 {
			v = append(v, a/b)
		}
	}
	return v
}
