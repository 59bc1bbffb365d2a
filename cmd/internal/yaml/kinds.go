package yaml

import (
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"culvert/cmd/internal/config"
	"culvert/l4"
)

// duration is a duration within s.
func duration[T any](s span, at func(*T) *time.Duration) kind[T] {
	return kind[T]{
		typ: "duration", span: s.markdown(), schema: s.schema,
		read: func(d *decoder, n ast.Node, to *T) { *at(to) = d.duration(n, s) },
	}
}

// size is a number of bytes between low and high.
func size[T any](low, high int64, at func(*T) *int64) kind[T] {
	return kind[T]{
		typ: "size", span: fmt.Sprintf("`%s` to `%s`", sizeText(low), sizeText(high)), schema: sizeSchema,
		read: func(d *decoder, n ast.Node, to *T) { *at(to) = d.size(n, low, high) },
	}
}

// integer is a whole number between low and high.
func integer[T any, N int | uint16](low, high int, at func(*T) *N) kind[T] {
	return kind[T]{
		typ: "number", span: fmt.Sprintf("%d to %d", low, high), schema: func() object { return integerSchema(low, high) },
		read: func(d *decoder, n ast.Node, to *T) { *at(to) = N(d.integer(n, low, high)) },
	}
}

// integerOr is integer or a word, which gives -1.
func integerOr[T any](low, high int, word string, at func(*T) *int) kind[T] {
	return kind[T]{
		typ: "number", span: fmt.Sprintf("%d to %d, `%s`", low, high, word),
		schema: func() object { return anyOf(integerSchema(low, high), object{"const": word}) },
		read:   func(d *decoder, n ast.Node, to *T) { *at(to) = d.integerOr(n, low, high, word) },
	}
}

// decimal is a number between low and high.
func decimal[T any](low, high float64, at func(*T) *float64) kind[T] {
	return kind[T]{
		typ: "number", span: decimalText(low) + " to " + decimalText(high), schema: func() object { return numberSchema(low, high) },
		read: func(d *decoder, n ast.Node, to *T) { *at(to) = d.decimal(n, low, high) },
	}
}

// decimalOrOff is decimal or off, which gives -1.
func decimalOrOff[T any](low, high float64, at func(*T) *float64) kind[T] {
	return kind[T]{
		typ: "number", span: decimalText(low) + " to " + decimalText(high) + ", `off`",
		schema: func() object { return anyOf(numberSchema(low, high), object{"const": "off"}) },
		read:   func(d *decoder, n ast.Node, to *T) { *at(to) = d.decimalOrOff(n, low, high) },
	}
}

// toggle is on or off, of which one sets.
func toggle[T any](sets bool, at func(*T) *bool) kind[T] {
	return kind[T]{typ: "switch", schema: switchSchema, read: func(d *decoder, n ast.Node, to *T) {
		if on, ok := d.toggle(n); ok {
			*at(to) = on == sets
		}
	}}
}

// inherited is on or off where nothing means an outer level.
func inherited[T any](at func(*T) *l4.Switch) kind[T] {
	return kind[T]{typ: "switch", schema: switchSchema, read: func(d *decoder, n ast.Node, to *T) {
		on, ok := d.toggle(n)
		switch {
		case ok && on:
			*at(to) = l4.SwitchOn
		case ok:
			*at(to) = l4.SwitchOff
		}
	}}
}

// textOf is a text; want says in messages what it should be.
func textOf[T any](want, span string, at func(*T) *string) kind[T] {
	return kind[T]{
		typ: "text", span: span, schema: textSchema,
		read: func(d *decoder, n ast.Node, to *T) { *at(to) = d.text(n, want).Value },
	}
}

// textsOf is one text or a list of them, each with its position.
func textsOf[T any](want, span string, at func(*T) *[]config.Text) kind[T] {
	return kind[T]{
		typ: "text or list", span: span, schema: textsSchema,
		read: func(d *decoder, n ast.Node, to *T) { *at(to) = d.texts(n, want) },
	}
}

// stringsOf is textsOf without positions.
func stringsOf[T any](want, span string, at func(*T) *[]string) kind[T] {
	k := textsOf[T](want, span, nil)
	k.read = func(d *decoder, n ast.Node, to *T) {
		for _, t := range d.texts(n, want) {
			*at(to) = append(*at(to), t.Value)
		}
	}
	return k
}

// oneOf is one of some words.
func oneOf[T any](set func(*T, string), words ...string) kind[T] {
	return kind[T]{
		typ: "text", span: "`" + strings.Join(words, "`, `") + "`", schema: func() object { return enumSchema(words) },
		read: func(d *decoder, n ast.Node, to *T) {
			if w := d.oneOf(n, words...); w != "" {
				set(to, w)
			}
		},
	}
}

// The words of a target that are no pool.
const (
	wordReject = "reject"
	wordClose  = "close"
)

// target is the name of a pool, or one of some actions.
func target[T any](at func(*T) *config.Target, actions ...string) kind[T] {
	span := "a pool"
	if len(actions) > 0 {
		span = "`" + strings.Join(actions, "`, `") + "`, a pool"
	}
	want := config.List(append(append([]string{}, actions...), "the name of a pool"))
	return kind[T]{
		typ: "text", span: span, schema: textSchema,
		read: func(d *decoder, n ast.Node, to *T) {
			if w := d.text(n, want); w.Value != "" {
				*at(to) = targetOf(w, len(actions) > 0)
			}
		},
	}
}

// targetOf returns what a word means where actions are meant, too.
func targetOf(w config.Text, actions bool) config.Target {
	switch {
	case actions && w.Value == wordReject:
		return config.Target{Action: config.Reject, Pool: config.Text{Position: w.Position}}
	case actions && w.Value == wordClose:
		return config.Target{Action: config.Close, Pool: config.Text{Position: w.Position}}
	}
	return config.Target{Action: config.ToPool, Pool: w}
}
