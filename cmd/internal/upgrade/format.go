package upgrade

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"culvert/balancer"
	"culvert/l4"
)

// format is a fingerprint of what messages contain: the names and types of all
// fields, and the meaning of all numbers. It differs between two programs when
// one of them would misread the other, even if Version was
// forgotten. gob alone would skip fields that the other side does
// not know, which must not happen to the state of a connection.
var format = sync.OnceValue(func() string {
	sum := sha256.Sum256([]byte(describe()))
	return hex.EncodeToString(sum[:8])
})

// describe lists what the fingerprint is made of.
func describe() string {
	var b strings.Builder
	d := describer{&b, map[reflect.Type]bool{}}
	for _, m := range []any{Offer{}, []string{}, []*l4.Handover{}, uint64(0), failure("")} {
		d.describe(reflect.TypeOf(m))
		b.WriteByte('\n')
	}
	for _, k := range kinds() {
		fmt.Fprintf(&b, "kind %s=%d\n", k, k)
	}
	for _, v := range l4.WireValues() {
		b.WriteString(v + "\n")
	}
	for _, c := range balancer.Causes() {
		fmt.Fprintf(&b, "cause %s=%d\n", c, c)
	}
	return b.String()
}

func kinds() (all []kind) {
	for k := range kindNames[1:] {
		all = append(all, kind(k+1))
	}
	return all
}

// describer writes types as gob sees them.
type describer struct {
	out  *strings.Builder
	seen map[reflect.Type]bool
}

var marshaler = reflect.TypeFor[encoding.BinaryMarshaler]()

func (d *describer) describe(t reflect.Type) {
	switch {
	case t.Implements(marshaler):
		d.out.WriteString(t.String())
	case t.Kind() == reflect.Pointer:
		d.describe(t.Elem())
	case t.Kind() == reflect.Slice:
		d.out.WriteString("[]")
		d.describe(t.Elem())
	case t.Kind() == reflect.Array:
		fmt.Fprintf(d.out, "[%d]", t.Len())
		d.describe(t.Elem())
	case t.Kind() == reflect.Struct:
		d.structure(t)
	default:
		d.out.WriteString(t.Kind().String())
	}
}

func (d *describer) structure(t reflect.Type) {
	d.out.WriteString(t.String())
	if d.seen[t] {
		return
	}
	d.seen[t] = true
	d.out.WriteString("{")
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() && len(f.Index) == 1 {
			d.out.WriteString(f.Name + " ")
			d.describe(f.Type)
			d.out.WriteString("; ")
		}
	}
	d.out.WriteString("}")
}

// mismatch returns why this process and another one do not understand each
// other, nil when they do.
func mismatch(other string, version int, theirs string) error {
	switch {
	case version != Version:
		return fmt.Errorf("%s speaks version %d of the handover, this one %d: restart instead", other, version, Version)
	case theirs != format():
		return fmt.Errorf("%s has another format of the handover (%s) than this one (%s): restart instead", other, theirs, format())
	}
	return nil
}
