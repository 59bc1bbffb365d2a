package config

import (
	"cmp"
	"fmt"
)

// A Position is where a part of a configuration was read: a file, and a line
// and a column in it that count from 1, the column in characters. The zero
// value is nowhere, which is where a configuration made in Go code comes from;
// a Line of 0 is the file as a whole.
type Position struct {
	File         string
	Line, Column int
}

// IsValid reports whether p is a place in a file, or a file.
func (p Position) IsValid() bool { return p != Position{} }

// String returns "file:line:column", as editors take it.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Compare orders positions by file, line and column.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// A Source says where a struct of the model was read. Every struct that stands
// for a block of a configuration file embeds one. The zero value, nowhere, is
// right for a configuration made in Go code.
type Source struct {
	Position // where the block begins

	// Keys are the keys that the block has, by the names that messages of
	// Check use for them, which are those of culvert.yaml. A key of a group
	// that has no struct of its own is entered with the group's name before
	// it: "timeouts.idle". A front end also enters a key whose value it could
	// not read: Check does not report it as missing then.
	Keys map[string]Place
}

// A Place is where a key and its value are. A zero Value is at the Key.
type Place struct{ Key, Value Position }

// At returns the position of a key, or of the block when it has no such key.
func (s *Source) At(key string) Position {
	if p, ok := s.Keys[key]; ok {
		return p.Key
	}
	return s.Position
}

// ValueAt returns the position of a key's value, or of the block when it has
// no such key.
func (s *Source) ValueAt(key string) Position {
	if p, ok := s.Keys[key]; ok && p.Value.IsValid() {
		return p.Value
	}
	return s.At(key)
}

// Has reports whether the block has one of the keys, readable or not.
func (s *Source) Has(keys ...string) bool {
	for _, key := range keys {
		if _, ok := s.Keys[key]; ok {
			return true
		}
	}
	return false
}

// SetKey enters the positions of a key and of its value.
func (s *Source) SetKey(name string, key, value Position) {
	if s.Keys == nil {
		s.Keys = map[string]Place{}
	}
	s.Keys[name] = Place{key, value}
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

// values returns the values of all.
func values(all []Text) []string {
	var out []string
	for _, t := range all {
		out = append(out, t.Value)
	}
	return out
}
