package yaml

import (
	"github.com/goccy/go-yaml/ast"

	"culvert/cmd/internal/config"
)

// Kinds whose values are mappings, or lists of them.

// group is a mapping whose keys fill the same struct as those around it.
func group[T any](m *mapping[T]) kind[T] {
	return kind[T]{typ: "mapping", schema: m.schema, read: func(d *decoder, n ast.Node, to *T) { m.decode(d, n, to) }}
}

// block is a mapping that fills a struct inside the one around it.
func block[T, U any](m *mapping[U], at func(*T) *U) kind[T] {
	return kind[T]{typ: m.typ(), schema: m.schema, read: func(d *decoder, n ast.Node, to *T) {
		u := at(to)
		m.begin(d, n, u)
		m.decode(d, n, u)
	}}
}

// optional is a mapping that makes a struct.
func optional[T, U any](m *mapping[U], at func(*T) **U) kind[T] {
	return kind[T]{typ: m.typ(), schema: m.schema, read: func(d *decoder, n ast.Node, to *T) {
		u := new(U)
		m.begin(d, n, u)
		if m.decode(d, n, u) {
			*at(to) = u
		}
	}}
}

// listOf is a list of mappings; what names its entries in messages.
func listOf[T, U any](what string, m *mapping[U], at func(*T) *[]*U) kind[T] {
	return kind[T]{
		typ: "list", span: "one or more", schema: func() object { return listSchema(m.schema()) },
		read: func(d *decoder, n ast.Node, to *T) {
			for _, e := range d.list(n, what) {
				u := new(U)
				m.begin(d, e, u)
				if m.decode(d, e, u) {
					*at(to) = append(*at(to), u)
				}
			}
		},
	}
}

// begin notes where the struct's mapping is.
func (m *mapping[T]) begin(d *decoder, n ast.Node, to *T) {
	if m.source != nil {
		m.source(to).Position = d.position(n)
	}
}

func (m *mapping[T]) typ() string {
	if m.short != nil {
		return "text or mapping"
	}
	return "mapping"
}

// pools are the named mappings of the file.
func pools() kind[config.Config] {
	return kind[config.Config]{
		typ: "mapping", span: "name to pool",
		schema: func() object {
			return object{"type": "object", "additionalProperties": poolKeys.schema(), "minProperties": 1}
		},
		read: func(d *decoder, n ast.Node, to *config.Config) {
			for _, e := range d.entries(n, "pools") {
				p := &config.Pool{Source: config.Source{Position: e.at}, Name: e.key}
				if scalarOf(e.value).kind != null {
					poolKeys.decode(d, e.value, p)
				}
				to.Pools = append(to.Pools, p)
			}
		},
	}
}
