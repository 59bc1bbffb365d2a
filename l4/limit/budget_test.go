package limit

import (
	"sync"
	"testing"
)

func takeAll(b *Budget) (n int) {
	for b.Take() {
		n++
	}
	return n
}

func TestBudget(t *testing.T) {
	var b Budget
	if n := takeAll(&b); n != BudgetBurst {
		t.Errorf("%d attempts at once, want %d", n, BudgetBurst)
	}
	extra := 0
	for range 1000 {
		b.Pay(0.2)
		if b.Take() {
			extra++
		}
	}
	if extra != 200 {
		t.Errorf("%d further attempts for 1000 connections, want 200", extra)
	}
	for range 10 * BudgetBurst {
		b.Pay(0.2)
	}
	if n := takeAll(&b); n != BudgetBurst {
		t.Errorf("%d attempts were saved up, want %d", n, BudgetBurst)
	}
	b.Return()
	if n := takeAll(&b); n != 1 {
		t.Errorf("%d attempts after one was returned, want 1", n)
	}
}

func TestBudgetIsNeverMoreThanFull(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*Budget)
	}{
		{"pay into a full one", func(b *Budget) { b.Pay(3) }},
		{"return to a full one", func(b *Budget) { b.Return() }},
		{"pay more than was taken", func(b *Budget) { b.Take(); b.Pay(3) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b Budget
			tt.do(&b)
			if n := takeAll(&b); n != BudgetBurst {
				t.Errorf("%d attempts, want %d", n, BudgetBurst)
			}
		})
	}
}

// TestBudgetIsExact has goroutines take attempts out and bring them back: none
// is lost, and none is there twice.
func TestBudgetIsExact(t *testing.T) {
	const tasks, rounds = 4, 500_000
	var b Budget
	for range BudgetBurst / 2 { // far from both ends
		b.Take()
	}
	var wg sync.WaitGroup
	for range tasks {
		wg.Go(func() {
			for range rounds {
				if !b.Take() {
					t.Error("refused, with half of the budget left")
				}
				b.Return()
			}
		})
	}
	wg.Wait()
	if n := takeAll(&b); n != BudgetBurst/2 {
		t.Errorf("%d attempts are left, want %d", n, BudgetBurst/2)
	}
}
