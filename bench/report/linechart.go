package report

import (
	"fmt"
	"math"
	"strings"

	"culvert/bench/result"
)

// logSpan is the ratio of the largest x to the smallest from which an axis is
// logarithmic.
const logSpan = 20

// lineChart returns a chart with x on the axis and a line for each peer.
func lineChart(r *result.Report, set []*result.Workload) chart {
	c := chart{
		Title: chartTitle(set[0]), Width: chartWidth, Height: lineHeight + axisHeight + 30, XLabel: set[0].XLabel,
		Area: area{Left: 64, Top: 12, Right: chartWidth - rightSpace, Bottom: lineHeight},
	}
	x := xScale(set, c.Area)
	for _, w := range set {
		c.XTicks = append(c.XTicks, tick{x(w.X), tickLabel(w.X)})
	}
	m := set[0].Headline()
	steps, top := ticks(highest(r, set, m), 6)
	y := func(v float64) float64 { return c.Area.Bottom - v/top*(c.Area.Bottom-c.Area.Top) }
	for _, v := range steps {
		c.Ticks = append(c.Ticks, tick{y(v), tickLabel(v)})
	}
	for _, p := range r.Peers {
		if l := newLine(set, m, p.Name, x, y); len(l.Points) > 0 {
			l.Class = classOf(r, p.Name)
			c.Lines = append(c.Lines, l)
		}
	}
	spreadLabels(c.Lines)
	return c
}

func newLine(set []*result.Workload, m result.Metric, peer string, x, y func(float64) float64) line {
	l := line{Peer: peer}
	var path strings.Builder
	for _, w := range set {
		s := w.Summary(m.Name, peer)
		if s.N == 0 {
			continue
		}
		p := point{x(w.X), y(s.Median), y(s.Low), y(s.High), fmt.Sprintf("%s, %s %s: %s %s (%s)", peer, number(w.X), w.XLabel, number(s.Median), m.Unit, spread(s))}
		command := "L"
		if len(l.Points) == 0 {
			command = "M"
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", command, p.X, p.Y)
		l.Points = append(l.Points, p)
		l.End = mark{p.X + 10, p.Y + 4, peer}
	}
	l.Path = path.String()
	return l
}

// xScale places x values, on a logarithmic axis if they lie far apart.
func xScale(set []*result.Workload, a area) func(float64) float64 {
	low, high := set[0].X, set[0].X
	for _, w := range set {
		low, high = min(low, w.X), max(high, w.X)
	}
	f := func(v float64) float64 { return v }
	if high/low > logSpan {
		f = math.Log
	}
	left, right := a.Left+20, a.Right-10
	return func(v float64) float64 { return left + (f(v)-f(low))/(f(high)-f(low))*(right-left) }
}

// labelHeight is the minimum distance of two names after lines.
const labelHeight = 14

// spreadLabels moves names after lines apart if they would overlap.
func spreadLabels(lines []line) {
	for range lines { // each pass settles at least one
		for i := range lines {
			for j := range lines {
				d := lines[j].End.Y - lines[i].End.Y
				if i != j && math.Abs(d) < labelHeight && (d > 0 || d == 0 && j > i) {
					push := (labelHeight - d) / 2
					lines[i].End.Y -= push
					lines[j].End.Y += push
				}
			}
		}
	}
}
