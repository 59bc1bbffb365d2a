package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// leastHeap is how much the heap may grow to, in bytes, before garbage is
// collected. Requests make garbage, and with a live heap of 2 MiB Go would
// collect 20 times a second: 15 to 26 % of a request's CPU.
const leastHeap = 24 << 20

// heapFloor keeps collections apart while the heap is small. GOGC in the
// environment has the last word. It does not touch a process that only relays:
// that one makes no garbage, and its memory is what connections cost.
func heapFloor() {
	if os.Getenv("GOGC") == "" {
		new(floor).set()
	}
}

// floor is set anew at each collection: a finalizer runs after it.
type floor struct{ _ [16]byte }

func (f *floor) set() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(percentFor(live[0].Value.Uint64()))
	runtime.SetFinalizer(f, (*floor).set)
}

// percentFor returns the GOGC with which a heap of so many live bytes grows to
// leastHeap, or by as much again.
func percentFor(live uint64) int {
	const usual = 100
	if live >= leastHeap/2 {
		return usual
	}
	return int((leastHeap - live) * 100 / max(live, 1<<20))
}
