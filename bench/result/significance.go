package result

import (
	"math"
	"slices"
)

// mannWhitney returns the two-sided probability that two samples of one
// distribution differ in rank as much as a and b do (Mann and Whitney, 1947).
// It makes no assumption about the distribution, which suits figures whose noise
// has a long tail. Without ties it is exact; with ties it is the normal
// approximation, corrected for ties and for continuity.
func mannWhitney(a, b []float64) float64 {
	if len(a) == 0 || len(b) == 0 {
		return 1
	}
	u, ties := rankSum(a, b)
	n, m := float64(len(a)), float64(len(b))
	if ties == 0 && len(a)*len(b) <= 2500 {
		return exact(u, len(a), len(b))
	}
	all := n + m
	variance := n * m / 12 * (all + 1 - ties/(all*(all-1)))
	if variance <= 0 {
		return 1
	}
	z := max(0, math.Abs(u-n*m/2)-0.5) / math.Sqrt(variance)
	return math.Erfc(z / math.Sqrt2)
}

// rankSum returns the statistic U of a, and the sum of t^3-t over groups of t
// equal values.
func rankSum(a, b []float64) (u, ties float64) {
	all := slices.Sorted(slices.Values(slices.Concat(a, b)))
	for _, x := range a {
		for _, y := range b {
			switch {
			case x > y:
				u++
			case x == y:
				u += 0.5
			}
		}
	}
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j] == all[i] {
			j++
		}
		t := float64(j - i)
		ties += t*t*t - t
		i = j
	}
	return u, ties
}

// exact counts the possible orders of n and m values, by their U: the last value
// is either one of a, which is above all m of b, or one of b.
func exact(u float64, n, m int) float64 {
	counts := make([][]float64, m+1) // for i values of a so far, by j of b, by U
	for j := range counts {
		counts[j] = make([]float64, n*m+1)
		counts[j][0] = 1
	}
	for range n {
		for j := 1; j <= m; j++ { // counts[j] is still of one a fewer
			next := slices.Clone(counts[j-1])
			for k := j; k <= n*m; k++ {
				next[k] += counts[j][k-j]
			}
			counts[j] = next
		}
	}
	low, sum := math.Min(u, float64(n*m)-u), 0.0
	total := 0.0
	for k, c := range counts[m] {
		total += c
		if float64(k) <= low {
			sum += c
		}
	}
	return min(1, 2*sum/total)
}
