package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Error is one thing wrong with a file, or one warning about it. Line and
// Column count from 1, Column in characters; both are 0 when the error is
// about the file as a whole.
type Error struct {
	File    string
	Line    int
	Column  int
	Message string
}

// Error returns "file:line:column: message".
func (e Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errors is everything wrong with a file, in the order of the file. Load and
// Build return no other type of error.
type Errors []Error

// Error returns the errors, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// sort puts e in the order of the file; errors at one place stay as found.
func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// within moves places that lie outside src to its end: the YAML library is not
// exact about what follows a multi-line text.
func (e Errors) within(src string) {
	lines := strings.Split(src, "\n")
	line, end := 0, 0 // counted last: many errors may be on one long line
	for i := range e {
		at := &e[i]
		if at.Line > len(lines) {
			at.Line, at.Column = len(lines), math.MaxInt
		}
		if at.Line < 1 {
			at.Line, at.Column = 0, 0
			continue
		}
		if line != at.Line {
			line, end = at.Line, utf8.RuneCountInString(lines[at.Line-1])+1
		}
		at.Column = max(1, min(at.Column, end))
	}
}

// orNil returns e sorted as an error, nil when it is empty.
func (e Errors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	e.sort()
	return e
}

// A place is a position in the file; the zero place is the file as a whole.
type place struct{ line, column int }

func (p place) error(file, format string, args ...any) Error {
	return Error{File: file, Line: p.line, Column: p.column, Message: fmt.Sprintf(format, args...)}
}

// quote quotes text for a message, and cuts it when it is long.
func quote(text string) string {
	const most = 60
	if r := []rune(text); len(r) > most {
		return fmt.Sprintf("%q...", string(r[:most]))
	}
	return fmt.Sprintf("%q", text)
}
