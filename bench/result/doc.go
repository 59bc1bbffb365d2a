// Package result is the result of a run of the harness: its JSON schema, the
// arithmetic of medians and ratios, the evaluation of bars, and the comparison
// of two runs. It uses no clock and no file, and measures nothing.
package result
