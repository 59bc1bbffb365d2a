package config

import "fmt"

// A Position is where a part of a configuration was read: a file, and a line
// and a column in it that count from 1, the column in characters. The zero
// value is nowhere, which is where a configuration made in Go code comes from;
// a Line of 0 is the file as a whole.
type Position struct {
	File         string
	Line, Column int
}

// IsValid reports whether p is a place in a file.
func (p Position) IsValid() bool { return p != Position{} }

// String returns "file:line:column", as editors take it.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// A Source says where a struct of the model was read. Every struct that stands
// for a block of a configuration file embeds one. The zero value, nowhere, is
// right for a configuration made in Go code.
type Source struct {
	Position // where the block begins

	// Keys are the positions of the keys that the block has, by the name that
	// messages of Check use for them, which are those of culvert.yaml. A front
	// end enters a key that it could not read, too: Check does not report it
	// as missing then.
	Keys map[string]Position
}

// At returns the position of a key, or of the block when it has no such key.
func (s *Source) At(key string) Position {
	if at, ok := s.Keys[key]; ok {
		return at
	}
	return s.Position
}

// Has reports whether the block has a key, readable or not.
func (s *Source) Has(key string) bool {
	_, ok := s.Keys[key]
	return ok
}

// SetKey enters the position of a key.
func (s *Source) SetKey(key string, at Position) {
	if s.Keys == nil {
		s.Keys = map[string]Position{}
	}
	s.Keys[key] = at
}

// A Text is a text of a configuration with its position, for lists whose
// entries are reported one by one. An empty Value was not set.
type Text struct {
	Position
	Value string
}

// Texts returns values without a position, for configurations made in Go code.
func Texts(values ...string) []Text {
	all := make([]Text, len(values))
	for i, v := range values {
		all[i].Value = v
	}
	return all
}
