package l4

// earlyWrite remembers, per server, whether writing right after connect(2)
// succeeds. On loopback and very short paths it does. Where it failed
// earlyMisses times in a row, one connection in earlyRetry tries again.
type earlyWrite struct{ misses, skipped uint8 }

const (
	earlyMisses = 8
	earlyRetry  = 64
)

func (w *earlyWrite) worthTrying() bool {
	if w.misses < earlyMisses {
		return true
	}
	w.skipped++
	return w.skipped%earlyRetry == 0
}

func (w *earlyWrite) note(ok bool) {
	if ok {
		w.misses = 0
	} else if w.misses < earlyMisses {
		w.misses++
	}
}
