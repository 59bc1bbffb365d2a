package service

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// The garbage collector runs when garbage is as much as what is in use. That is
// little in a process that relays, and HTTP makes a lot: a sixth of the CPU of a
// request went to collections that found little in use each time.
const (
	maxCollections = 8        // a second, while not more than
	maxGarbage     = 64 << 20 // bytes of garbage suffice for that
	paceEvery      = 500 * time.Millisecond
	usualPercent   = 100 // Go's own: garbage in terms of what is in use
	maxPercent     = 400 // the heap in use may have grown by the next look
	minInUse       = 4 << 20
)

// paceCollector adapts the garbage collector to how much garbage there is, for
// as long as the process lives, unless GOGC says what it wants. It is for
// processes that terminate TLS; the others make none.
var paceCollector = sync.OnceFunc(func() {
	if os.Getenv("GOGC") == "" {
		go newCollector().run()
	}
})

// collector is what Go has said of its memory.
type collector struct {
	read      []metrics.Sample
	allocated uint64 // bytes, ever
	percent   int
}

func newCollector() *collector {
	c := &collector{percent: usualPercent, read: []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}}
	c.look()
	return c
}

// look returns the bytes that were allocated since the last look, and those
// that were in use at the last collection.
func (c *collector) look() (allocated, inUse uint64) {
	metrics.Read(c.read)
	now := c.read[0].Value.Uint64()
	allocated, c.allocated = now-c.allocated, now
	return allocated, c.read[1].Value.Uint64()
}

func (c *collector) run() {
	for range time.Tick(paceEvery) {
		allocated, inUse := c.look()
		c.set(percentFor(allocated*uint64(time.Second/paceEvery), inUse))
	}
}

// set changes the percentage when it is worth it. What was garbage goes back to
// the system when there is less of it.
func (c *collector) set(percent int) {
	if percent > c.percent*3/4 && percent < c.percent*3/2 && percent != usualPercent || percent == c.percent {
		return
	}
	c.percent = percent
	debug.SetGCPercent(percent)
	if percent == usualPercent {
		debug.FreeOSMemory()
	}
}

// percentFor is how much garbage may be there, for so many bytes allocated per
// second.
func percentFor(perSecond, inUse uint64) int {
	garbage := min(perSecond/maxCollections, maxGarbage)
	return min(max(usualPercent, int(100*garbage/max(inUse, minInUse))), maxPercent)
}
