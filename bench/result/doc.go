// Package result is what a run of the harness found: its schema as JSON, the
// arithmetic of medians and ratios, the judgement of bars, and the comparison
// of two runs. It is pure: no clock, no file, no measuring.
package result
