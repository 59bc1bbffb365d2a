// Package check compares the output of go test -bench with a committed
// baseline and says what became dearer.
//
// It looks only at figures that are the same on a busy machine as on an idle
// one: allocations and bytes per operation, and the time of a benchmark as a
// ratio to that of its reference, a benchmark of fixed work in the same
// package. A ratio is taken round by round, so that both have seen the same
// machine. It is worse only when it is so in every round: the mood of a machine
// changes. Of allocations the median counts. Times themselves are never
// compared.
//
// A benchmark's reference is the sub-benchmark called "reference" beside it,
// or else beside the nearest of its parents that has one: that of
// BenchmarkPick/16/maglev is BenchmarkPick/16/reference, or, if there is none,
// BenchmarkPick/reference. A benchmark without one is judged by what it
// allocates.
//
// It does not run the benchmarks: it reads what they printed.
package check
