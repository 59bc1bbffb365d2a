package config

import (
	"fmt"
	"slices"
	"strings"
)

// Error is one thing wrong with a configuration, or one warning about it.
type Error struct {
	Position        // Line 0: it is about the file as a whole, or was not read from a file
	Part     string // what it is about, such as "listener :443", where there is no position
	Message  string
}

// Error returns "file:line:column: message", or the message with what it is
// about.
func (e Error) Error() string {
	switch {
	case e.IsValid():
		return e.Position.String() + ": " + e.Message
	case e.Part != "":
		return e.Part + ": " + e.Message
	}
	return e.Message
}

// Errors is everything wrong with a configuration.
type Errors []Error

// Error returns the errors, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Sort puts e in the order of the file; errors at one position stay in the
// order in which they were found.
func (e Errors) Sort() {
	slices.SortStableFunc(e, func(a, b Error) int { return a.Compare(b.Position) })
}

// Err returns e, sorted, as an error; nil when it is empty.
func (e Errors) Err() error {
	if len(e) == 0 {
		return nil
	}
	e.Sort()
	return e
}

// Errorf returns the error at a position.
func (p Position) Errorf(format string, args ...any) Error {
	return Error{Position: p, Message: fmt.Sprintf(format, args...)}
}

// Quote quotes a text for a message, and cuts it when it is long.
func Quote(text string) string {
	const most = 60
	if r := []rune(text); len(r) > most {
		return fmt.Sprintf("%q...", string(r[:most]))
	}
	return fmt.Sprintf("%q", text)
}

// List joins words to "a, b or c".
func List(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
