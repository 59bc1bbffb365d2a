package config

import (
	"net/netip"
	"reflect"
	"testing"
)

// fullTerminate returns a Terminate with every field set, by reflection, so
// that a field that is added later is among them.
func fullTerminate() *Terminate {
	t := &Terminate{}
	fill(reflect.ValueOf(t).Elem())
	return t
}

// fill sets every value in v that is not a position.
func fill(v reflect.Value) {
	for _, leaf := range leaves(v, true) {
		set(leaf, 1)
	}
}

// leaves returns the values in v that are not made of others; grow makes
// pointers and lists, and without it none is added.
func leaves(v reflect.Value, grow bool) (all []reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() && !grow {
			return nil
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return leaves(v.Elem(), grow)
	case reflect.Slice:
		if v.Len() == 0 && grow {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		for i := range v.Len() {
			all = append(all, leaves(v.Index(i), grow)...)
		}
		return all
	case reflect.Struct:
		switch v.Type() {
		case sourceType, positionType:
			return nil
		case reflect.TypeFor[netip.Addr](), reflect.TypeFor[netip.AddrPort](), reflect.TypeFor[netip.Prefix]():
			return []reflect.Value{v}
		}
		for i := range v.NumField() {
			all = append(all, leaves(v.Field(i), grow)...)
		}
		return all
	}
	return []reflect.Value{v}
}

// set gives a value one of two contents.
func set(v reflect.Value, to int) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(to == 1)
	case reflect.String:
		v.SetString(string(rune('a' + to)))
	case reflect.Uint8, reflect.Uint16:
		v.SetUint(uint64(to))
	default:
		v.SetInt(int64(to))
	}
}

func TestEqualNoticesEveryValue(t *testing.T) {
	n := len(leaves(reflect.ValueOf(fullTerminate()).Elem(), false))
	if n < 30 {
		t.Fatalf("found only %d values", n)
	}
	for i := range n {
		a, b := fullTerminate(), fullTerminate()
		set(leaves(reflect.ValueOf(b).Elem(), false)[i], 2)
		if a.Equal(b) || b.Equal(a) {
			t.Errorf("value %d of %d is not compared: %+v", i, n, b)
		}
	}
}

// TestEqualNoticesWhatIsMissing: a part or an entry that only one has.
func TestEqualNoticesWhatIsMissing(t *testing.T) {
	v := reflect.ValueOf(fullTerminate()).Elem()
	for i := range v.NumField() {
		if kind := v.Field(i).Kind(); kind != reflect.Pointer && kind != reflect.Slice {
			continue
		}
		a, b := fullTerminate(), fullTerminate()
		reflect.ValueOf(b).Elem().Field(i).SetZero()
		if a.Equal(b) || b.Equal(a) {
			t.Errorf("without %s it is equal", v.Type().Field(i).Name)
		}
	}
}

// TestEqualIgnoresPositions: a line that is added above changes no handler.
func TestEqualIgnoresPositions(t *testing.T) {
	a, b := fullTerminate(), fullTerminate()
	b.Position = inFile(7, 7)
	b.SetKey("profile", inFile(8, 1), inFile(8, 9))
	b.Certificates[0].Position, b.StripRequestHeaders[0].Position = inFile(9, 1), inFile(9, 2)
	if !a.Equal(b) {
		t.Error("positions are compared")
	}
	if a.Preauth.Exempt = nil; a.Equal(b) {
		t.Error("lists are not compared")
	}
	a.Preauth.Exempt, b.Preauth.Exempt = nil, []*ExemptPath{}
	if !a.Equal(b) {
		t.Error("no entries are not no list")
	}
}
