package yaml

import (
	"github.com/goccy/go-yaml/ast"

	"culvert/cmd/internal/config"
)

// A key is a key of a mapping that fills a T: one row of the reference.
type key[T any] struct {
	name     string
	value    kind[T]
	def      string // what the zero value means, as the reference has it; "": nothing to say
	required bool
	meaning  string // one line of Markdown
	example  any    // for the schema; nil: none
}

// A kind is how the value of a key is written.
type kind[T any] struct {
	typ    string // in a word, for the reference
	span   string // its range or its words, for the reference; "": any
	schema func() object
	read   func(d *decoder, n ast.Node, to *T) // reports what is wrong, and leaves to as it is then
}

// A mapping is what one mapping of the file may have.
type mapping[T any] struct {
	id     string // in the reference and the schema
	what   string // in messages: "a listener"
	group  string // before the names of keys in config.Source.Keys: "timeouts."; "": none
	keys   []key[T]
	source func(*T) *config.Source // nil: T has none
	short  func() object           // schema of a short form; nil: there is none
}

// decode fills to from a mapping. It reports false when n is something else.
func (m *mapping[T]) decode(d *decoder, n ast.Node, to *T) bool {
	if _, ok := n.(ast.MapNode); !ok {
		d.errorf(n, "found %s, expected a mapping of keys to values for %s", describe(n), m.what)
		return false
	}
	for _, e := range d.entries(n, m.what) {
		k := m.find(e.key)
		if k == nil {
			if meant := d.unknownKey(e, m.what, m.names()); meant != "" {
				m.enter(d, to, meant, e)
			}
			continue
		}
		m.enter(d, to, e.key, e)
		if scalarOf(e.value).kind == null {
			d.errorAt(e.at, "key %q has no value", e.key)
			continue
		}
		k.value.read(d, e.value, to)
	}
	return true
}

// enter notes where a key is.
func (m *mapping[T]) enter(d *decoder, to *T, name string, e entry) {
	if m.source != nil {
		m.source(to).SetKey(m.group+name, e.at, d.position(e.value))
	}
}

func (m *mapping[T]) find(name string) *key[T] {
	for i := range m.keys {
		if m.keys[i].name == name {
			return &m.keys[i]
		}
	}
	return nil
}

// names returns the names of the keys, sorted.
func (m *mapping[T]) names() []string { return sortedNames(m.rows()) }

// What mappings are called in messages.
const (
	inFile             = "the file"
	inListener         = "a listener"
	inListenerTimeouts = "a listener's timeouts"
	inRoute            = "a route"
	inPool             = "a pool"
	inPoolTimeouts     = "a pool's timeouts"
	inHTTPTimeouts     = "the timeouts of terminate"
	inServer           = "a server"
	inKeyPair          = "a certificate with its key"
	inExempt           = "an exempt path"
)
