package yaml

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"culvert/cmd/internal/config"
)

// A decoder turns the nodes of a file into values. Its methods read one node
// each; what is wrong with it they add to errs, and return the zero value, so
// that one pass finds every error.
type decoder struct {
	file    string
	errs    config.Errors
	suggest config.Suggester
}

func (d *decoder) errorf(n ast.Node, format string, args ...any) {
	d.errorAt(d.position(n), format, args...)
}

func (d *decoder) errorAt(at config.Position, format string, args ...any) {
	d.errs = append(d.errs, config.Error{Position: at, Message: fmt.Sprintf(format, args...)})
}

// whole is the position of the file as a whole.
func (d *decoder) whole() config.Position { return config.Position{File: d.file} }

// position returns where n starts. A block mapping's token is its first colon,
// so its first key is taken.
func (d *decoder) position(n ast.Node) config.Position {
	at := nodePosition(n)
	at.File = d.file
	return at
}

func nodePosition(n ast.Node) config.Position {
	switch m := n.(type) {
	case nil:
		return config.Position{}
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			return nodePosition(m.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return nodePosition(m.Key)
	}
	return tokenPosition(n.GetToken())
}

func tokenPosition(t *token.Token) config.Position {
	if t == nil || t.Position == nil {
		return config.Position{}
	}
	return config.Position{Line: t.Position.Line, Column: t.Position.Column}
}

// describe says what n is, for an error message.
func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	}
	if s := scalarOf(n); s.kind != notScalar {
		return s.String()
	}
	return "something else"
}

// An entry is a key of a mapping and its value.
type entry struct {
	key   string
	at    config.Position // of the key
	value ast.Node
}

// entries returns the entries of a mapping whose keys differ; what names the
// mapping in errors.
func (d *decoder) entries(n ast.Node, what string) []entry {
	m, ok := n.(ast.MapNode)
	if !ok {
		d.errorf(n, "found %s, expected a mapping of keys to values for %s", describe(n), what)
		return nil
	}
	var all []entry
	seen := map[string]config.Position{}
	for i := m.MapRange(); i.Next(); {
		e := entry{at: d.position(i.Key()), value: i.Value()}
		s := scalarOf(i.Key())
		if s.kind == notScalar || s.kind == null {
			d.errorAt(e.at, "a key in %s must be a plain word", what)
			continue
		}
		e.key = s.text
		if first, ok := seen[e.key]; ok {
			d.errorAt(e.at, "key %s is set twice in %s, first on line %d", config.Quote(e.key), what, first.Line)
			continue
		}
		seen[e.key] = e.at
		all = append(all, e)
	}
	return all
}

// unknownKey reports e and returns the key that was probably meant.
func (d *decoder) unknownKey(e entry, what string, known []string) (meant string) {
	if home := homeOf(what, e.key); home != "" {
		d.errorAt(e.at, "unknown key %s in %s: it belongs in %s", config.Quote(e.key), what, home)
		return ""
	}
	meant = d.suggest.Near(e.key, known)
	hint := fmt.Sprintf(", did you mean %q?", meant)
	if meant == "" {
		hint = ", expected " + config.List(known)
	}
	d.errorAt(e.at, "unknown key %s in %s%s", config.Quote(e.key), what, hint)
	return meant
}

// homeOf returns where a key belongs that was found in what, "" when that is
// not known.
func homeOf(what, key string) string {
	switch what + " " + key {
	case inListenerTimeouts + " connect", inListenerTimeouts + " first_byte", inListenerTimeouts + " failover":
		return inPoolTimeouts
	case inPoolTimeouts + " hello", inPoolTimeouts + " proxy_header":
		return inListenerTimeouts
	}
	return ""
}

// list returns the elements of a list.
func (d *decoder) list(n ast.Node, what string) []ast.Node {
	l, ok := n.(*ast.SequenceNode)
	if !ok {
		d.errorf(n, "found %s, expected a list of %s", describe(n), what)
		return nil
	}
	if len(l.Values) == 0 {
		d.errorf(n, "the list of %s is empty", what)
	}
	return l.Values
}
