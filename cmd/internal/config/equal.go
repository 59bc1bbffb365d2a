package config

import "reflect"

// Equal reports whether t and u terminate alike: all their values are equal,
// wherever they were read. Files are compared by their names.
func (t *Terminate) Equal(u *Terminate) bool {
	return equal(reflect.ValueOf(t), reflect.ValueOf(u))
}

var (
	sourceType   = reflect.TypeFor[Source]()
	positionType = reflect.TypeFor[Position]()
)

// equal compares values of the model, all but their positions. It goes through
// every field that there is, so that none is forgotten when one is added.
func equal(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return equal(a.Elem(), b.Elem())
	case reflect.Struct:
		return equalFields(a, b)
	case reflect.Slice:
		return equalEntries(a, b)
	}
	return a.Equal(b)
}

func equalFields(a, b reflect.Value) bool {
	if t := a.Type(); t == sourceType || t == positionType {
		return true
	}
	for i := range a.NumField() {
		if !equal(a.Field(i), b.Field(i)) {
			return false
		}
	}
	return true
}

func equalEntries(a, b reflect.Value) bool {
	if a.Len() != b.Len() {
		return false
	}
	for i := range a.Len() {
		if !equal(a.Index(i), b.Index(i)) {
			return false
		}
	}
	return true
}
