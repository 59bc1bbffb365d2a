package config

import (
	"fmt"
	"strings"
)

// maxComparisons bounds the words compared for suggestions in one file, so
// that a file with as many mistakes as names is still refused quickly.
const maxComparisons = 1 << 18

// maxWord is the longest word, in bytes, that something is suggested for.
const maxWord = 64

// A Suggester finds what was meant by a word that is not known. The zero
// value is ready; it stops suggesting after maxComparisons, so that a front end
// uses one for a whole configuration.
type Suggester struct{ compared int }

// Near returns the known word closest to word, "" when none is close.
func (s *Suggester) Near(word string, known []string) string {
	s.compared += len(known)
	if s.compared > maxComparisons {
		return ""
	}
	return nearest(word, known)
}

// Hint is Near as the end of a message.
func (s *Suggester) Hint(word string, known []string) string {
	if near := s.Near(word, known); near != "" {
		return fmt.Sprintf(", did you mean %q?", near)
	}
	return ""
}

// nearest returns the known word that takes the fewest edits to reach from
// word, the first such; "" when more than a third of it, or two of its few
// letters, would have to change.
func nearest(word string, known []string) string {
	if len(word) > maxWord {
		return ""
	}
	word = strings.ToLower(word)
	best, least := "", max(1, len(word)/3)+1
	for _, k := range known {
		if k == "" || max(len(k)-len(word), len(word)-len(k)) >= least || len(k) < least {
			continue
		}
		if d := distance(word, strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the insertions, deletions, substitutions and swaps of
// neighbours between a and b (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+differ(a[i], b[j]))
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func differ(a, b byte) int {
	if a == b {
		return 0
	}
	return 1
}
