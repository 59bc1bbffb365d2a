package limit

import "sync/atomic"

// Budget bounds how many attempts are made after the first one, so that a
// pool that fails is not asked twice as often as one that works. Each new
// connection pays in a share of an attempt, each further attempt takes out a
// whole one, and what is saved up is bounded by BudgetBurst. The zero value is
// a full budget.
type Budget struct{ spent atomic.Int64 } // in thousandths of an attempt, 0 to BudgetBurst attempts

// BudgetBurst is how many attempts may be saved up: as many as may wait for a
// server when it dies, all of which go to the next one at once. With 100 a
// server that stopped under 200 clients cost some of them.
const BudgetBurst = 1000

// attempt is the unit of Budget.spent.
const attempt = 1000

// Pay pays in share of an attempt, at most 1e6, in whole thousandths.
func (b *Budget) Pay(share float64) { b.pay(int64(share * attempt)) }

// Return undoes a Take.
func (b *Budget) Return() { b.pay(attempt) }

// Take takes out an attempt, or reports that there is none left.
func (b *Budget) Take() bool {
	for {
		n := b.spent.Load()
		if n > (BudgetBurst-1)*attempt {
			return false
		}
		if b.spent.CompareAndSwap(n, n+attempt) {
			return true
		}
	}
}

func (b *Budget) pay(amount int64) {
	for {
		n := b.spent.Load()
		if n == 0 || b.spent.CompareAndSwap(n, max(n-amount, 0)) {
			return
		}
	}
}
