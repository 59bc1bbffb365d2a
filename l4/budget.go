package l4

import "sync/atomic"

// budget bounds how many attempts are made after the first one, so that a
// pool that fails is not asked twice as often as one that works. Each new
// connection pays a share of an attempt in, each further attempt takes a whole
// one out, and what is saved up is bounded. Safe for concurrent use.
type budget struct{ spent atomic.Int64 } // in thousandths of an attempt, below budgetBurst

// budgetBurst is how many attempts may be saved up, in thousandths: as many as
// may wait for a server when it dies, all of whom go to the next one at once.
// With 100 a server that stopped under 200 clients cost some of them.
const budgetBurst = 1000_000

// pay enters a new connection that pays share of an attempt.
func (b *budget) pay(share float64) {
	if b.spent.Load() > 0 {
		b.spent.Add(-int64(share * 1000))
	}
}

// giveBack undoes a take.
func (b *budget) giveBack() { b.spent.Add(-1000) }

// take takes an attempt out, or reports that there is none left.
func (b *budget) take() bool {
	if b.spent.Add(1000) > budgetBurst {
		b.spent.Add(-1000)
		return false
	}
	return true
}
