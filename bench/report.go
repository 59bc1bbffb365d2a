package bench

import (
	"os"
	"time"

	"culvert/bench/measure"
	"culvert/bench/result"
)

// newReport is a report without results.
func newReport(o Options) *result.Report {
	f := measure.ReadFacts()
	return &result.Report{
		Schema:  result.SchemaVersion,
		Started: time.Now().UTC().Truncate(time.Second),
		Command: append([]string{"culvert-bench"}, os.Args[1:]...),
		Commit:  o.Commit,
		Machine: result.Machine{
			CPU: f.CPU, Cores: f.Cores, MemoryMiB: f.MemoryMiB, Kernel: f.Kernel, Go: f.Go, FDs: f.FDs, Root: f.Root,
			Mitigations: f.Mitigations, Congestion: f.Congestion, Hypervisor: f.Hypervisor,
		},
		Options: result.Options{Rounds: o.Rounds, Seconds: o.Length.Seconds(), Workers: o.Workers},
	}
}
