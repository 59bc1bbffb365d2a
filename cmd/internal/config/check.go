package config

import (
	"cmp"
	"fmt"
	"slices"
)

// Check returns everything that is wrong with c, and what is odd but not
// wrong, each in the order of the file. It says what texts mean, what the parts
// say about each other, and what is out of range. It reads the certificates,
// secrets and lists that c names and looks up the group, opens no socket and
// resolves no name. A key that a front end could not read, and has entered in a
// Source, is not reported as missing.
func (c *Config) Check() (errs, warnings Errors) {
	k := &checker{config: c}
	k.process()
	for i, l := range c.Listeners {
		k.entry(c, l == nil, "listeners", i, func() { k.listener(l) })
	}
	for i, p := range c.Pools {
		k.entry(c, p == nil, "pools", i, func() { k.pool(p) })
	}
	k.together()
	if len(k.errs) == 0 && !k.unread {
		k.buildable()
	}
	k.errs.Sort()
	k.warnings.Sort()
	return k.errs, k.warnings
}

// A checker collects what is wrong. Its methods check one struct each and go
// on after an error.
type checker struct {
	config   *Config
	errs     Errors
	warnings Errors
	suggest  Suggester
	unread   bool   // something that is required is not there, and was reported by the front end
	part     string // what is checked now, for errors without a position
}

func (k *checker) errorAt(at Position, format string, args ...any) {
	e := at.Errorf(format, args...)
	e.Part = k.part
	k.errs = append(k.errs, e)
}

func (k *checker) warnAt(at Position, format string, args ...any) {
	e := at.Errorf(format, args...)
	e.Part = k.part
	k.warnings = append(k.warnings, e)
}

// in calls check with errors that are about part.
func (k *checker) in(part string, check func()) {
	before := k.part
	if before != "" {
		part = before + ", " + part
	}
	k.part = part
	check()
	k.part = before
}

// entry calls check for an entry of a list, unless it is nil.
func (k *checker) entry(of interface{ At(string) Position }, isNil bool, list string, i int, check func()) {
	if isNil {
		k.errorAt(of.At(list), "entry %d of %s is nil", i+1, list)
		return
	}
	check()
}

// A use is a key and whether the struct has a value of it.
type use struct {
	key string
	set bool
}

// is reports whether one of the keys was set, by its value or in the file.
func is(s *Source, uses ...use) bool {
	return slices.ContainsFunc(uses, func(u use) bool { return u.set || s.Has(u.key) })
}

// ignored reports keys that have no effect; where says in which case.
func (k *checker) ignored(s *Source, where string, groups ...[]use) {
	for _, u := range slices.Concat(groups...) {
		if is(s, u) {
			k.errorAt(s.At(u.key), "%q has no effect %s", lastName(u.key), where)
		}
	}
}

// require reports a key that a struct must have and does not.
func (k *checker) require(s *Source, isSet bool, what, key string) {
	switch {
	case isSet:
	case s.Has(key):
		k.unread = true
	default:
		k.errorAt(s.Position, "%s has no %s", what, key)
	}
}

// wrong reports a text; want says what was expected instead.
func (k *checker) wrong(at Position, text, want string) {
	k.errorAt(at, "found %s, expected %s", Quote(text), want)
}

// buildable reports what only building finds, such as weights that do not fit
// a policy's table.
func (k *checker) buildable() {
	var errs Errors
	if _, err := k.config.Unresolved(); err != nil {
		errs, _ = err.(Errors)
	}
	k.errs = append(k.errs, errs...)
}

// onLine says where something else is, after the words before; "" when it was
// not read from a file. A file is named if it is not that of at.
func onLine(before string, there, at Position) string {
	switch {
	case there.Line == 0:
		return ""
	case there.File != at.File:
		return fmt.Sprintf("%s on line %d of %s", before, there.Line, there.File)
	}
	return fmt.Sprintf("%s on line %d", before, there.Line)
}

// theListener says which listener there is.
func theListener(there, at Position) string {
	if line := onLine("", there, at); line != "" {
		return "the listener" + line
	}
	return "another listener"
}

// partOf says what a listener, a pool or a server is called in errors without
// a position.
func partOf(kind string, names ...string) string {
	return kind + " " + cmp.Or(cmp.Or(names...), "without a name")
}

// live returns the entries of a list that are not nil.
func live[T any](all []*T) []*T {
	isNil := func(e *T) bool { return e == nil }
	if !slices.ContainsFunc(all, isNil) {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), isNil)
}
