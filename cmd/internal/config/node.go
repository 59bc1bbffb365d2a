package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// A decoder turns the nodes of a file into values. Its methods read one node
// each; what is wrong with it they add to errs, and return the zero value, so
// that one pass finds every error.
type decoder struct {
	file     string
	errs     Errors
	warnings Errors
	suggest  suggester
}

func (d *decoder) errorf(n ast.Node, format string, args ...any) {
	d.errorAt(placeOf(n), format, args...)
}

func (d *decoder) errorAt(at place, format string, args ...any) {
	d.errs = append(d.errs, at.error(d.file, format, args...))
}

func (d *decoder) warnAt(at place, format string, args ...any) {
	d.warnings = append(d.warnings, at.error(d.file, format, args...))
}

// placeOf returns where n starts. A block mapping's token is its first colon,
// so its first key is taken.
func placeOf(n ast.Node) place {
	switch m := n.(type) {
	case nil:
		return place{}
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			return placeOf(m.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return placeOf(m.Key)
	}
	return tokenPlace(n.GetToken())
}

func tokenPlace(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{}
	}
	return place{line: t.Position.Line, column: t.Position.Column}
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
	at    place // of the key
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
	seen := map[string]place{}
	for i := m.MapRange(); i.Next(); {
		e := entry{at: placeOf(i.Key()), value: i.Value()}
		s := scalarOf(i.Key())
		if s.kind == notScalar || s.kind == null {
			d.errorAt(e.at, "a key in %s must be a plain word", what)
			continue
		}
		e.key = s.text
		if first, ok := seen[e.key]; ok {
			d.errorAt(e.at, "key %s is set twice in %s, first on line %d", quote(e.key), what, first.line)
			continue
		}
		seen[e.key] = e.at
		all = append(all, e)
	}
	return all
}

// fields are the keys that a mapping may have, each with what reads its value.
type fields map[string]func(ast.Node)

// found is where the keys of a mapping are, for those that are set. A misspelt
// key counts as set, so that it is not reported as missing too.
type found map[string]place

// any reports whether one of the keys is set.
func (f found) any(keys ...string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { _, ok := f[k]; return ok })
}

// ignored reports keys that have no effect; where says in which case.
func (d *decoder) ignored(keys found, where string, groups ...[]string) {
	for _, k := range slices.Concat(groups...) {
		if at, ok := keys[k]; ok {
			d.errorAt(at, "%q has no effect %s", k, where)
		}
	}
}

// mapping reads a mapping by its fields. A key without a value is an error.
func (d *decoder) mapping(n ast.Node, what string, fields fields) found {
	keys := found{}
	for _, e := range d.entries(n, what) {
		read, ok := fields[e.key]
		if !ok {
			if meant := d.unknownKey(e, what, slices.Sorted(maps.Keys(fields))); meant != "" {
				keys[meant] = e.at
			}
			continue
		}
		keys[e.key] = e.at
		if scalarOf(e.value).kind == null {
			d.errorAt(e.at, "key %q has no value", e.key)
			continue
		}
		read(e.value)
	}
	return keys
}

// unknownKey reports e and returns the key that was probably meant.
func (d *decoder) unknownKey(e entry, what string, known []string) (meant string) {
	if home := homeOf(what, e.key); home != "" {
		d.errorAt(e.at, "unknown key %s in %s: it belongs in %s", quote(e.key), what, home)
		return ""
	}
	meant = d.suggest.near(e.key, known)
	hint := fmt.Sprintf(", did you mean %q?", meant)
	if meant == "" {
		hint = ", expected " + list(known)
	}
	d.errorAt(e.at, "unknown key %s in %s%s", quote(e.key), what, hint)
	return meant
}

// homeOf returns where a key belongs that was found in what, "" when that is
// not known.
func homeOf(what, key string) string {
	switch what + " " + key {
	case listenerTimeouts + " connect", listenerTimeouts + " first_byte", listenerTimeouts + " failover":
		return poolTimeouts
	case poolTimeouts + " hello", poolTimeouts + " proxy_header":
		return listenerTimeouts
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
