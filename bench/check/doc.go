// Package check compares the output of go test -bench with a committed
// baseline and reports what became more expensive.
//
// It uses only figures that are the same on a busy machine as on an idle one:
// allocations and bytes per operation, and the time of a benchmark as a ratio to
// that of its reference, a benchmark of fixed work in the same package. A ratio
// is computed for each round, so that both were measured under the same
// conditions, and is worse only if it is worse in every round, because conditions
// change. Of allocations the median is compared. Times themselves are never
// compared.
//
// A benchmark's reference is the sub-benchmark called "reference" beside it,
// or else beside the nearest of its parents that has one: that of
// BenchmarkPick/16/maglev is BenchmarkPick/16/reference, or, if there is none,
// BenchmarkPick/reference. For a benchmark without a reference only allocations
// are compared.
//
// The package does not run the benchmarks: it reads their output.
package check
