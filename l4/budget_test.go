package l4

import "testing"

func TestBudget(t *testing.T) {
	var b budget
	taken := 0
	for b.take() {
		taken++
	}
	if taken != budgetBurst/1000 {
		t.Errorf("%d attempts at once, want %d", taken, budgetBurst/1000)
	}
	extra := 0
	for range 1000 {
		b.pay(0.2)
		if b.take() {
			extra++
		}
	}
	if extra < 195 || extra > 205 {
		t.Errorf("%d further attempts for 1000 connections, want 200", extra)
	}
	for range 10 * budgetBurst {
		b.pay(0.2)
	}
	taken = 0
	for b.take() {
		taken++
	}
	if taken > budgetBurst/1000+1 {
		t.Errorf("%d attempts were saved up, want %d", taken, budgetBurst/1000)
	}
}
