package yaml

import (
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"culvert/cmd/internal/config"
)

// A scalar is a node that is neither a list nor a mapping.
type scalar struct {
	kind scalarKind
	text string
}

type scalarKind uint8

const (
	notScalar scalarKind = iota
	null
	text
	number
	boolean
)

// String describes s for an error message.
func (s scalar) String() string {
	switch s.kind {
	case null:
		return "nothing"
	case number:
		return "the number " + s.text
	case text:
		return config.Quote(s.text)
	}
	return s.text
}

func scalarOf(n ast.Node) scalar {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return scalar{kind: null}
	case *ast.StringNode:
		return scalar{text, n.Value}
	case *ast.LiteralNode:
		return scalar{text, n.Value.Value}
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return scalar{number, n.GetToken().Value}
	case *ast.BoolNode:
		return scalar{boolean, n.GetToken().Value}
	}
	return scalar{}
}

// text reads a text that is not empty; what is what it should be.
func (d *decoder) text(n ast.Node, what string) config.Text {
	switch s := scalarOf(n); {
	case s.kind == number || s.kind == boolean:
		d.errorf(n, "found %s, expected a text: %s", s, what)
	case s.kind != text:
		d.errorf(n, "found %s, expected %s", describe(n), what)
	case s.text == "":
		d.errorf(n, "found an empty text, expected %s", what)
	default:
		return config.Text{Position: d.position(n), Value: s.text}
	}
	return config.Text{}
}

// texts reads one text, or a list of texts.
func (d *decoder) texts(n ast.Node, what string) []config.Text {
	if _, ok := n.(*ast.SequenceNode); !ok {
		if w := d.text(n, what); w.Value != "" {
			return []config.Text{w}
		}
		return nil
	}
	var all []config.Text
	for _, e := range d.list(n, what) {
		if w := d.text(e, what); w.Value != "" {
			all = append(all, w)
		}
	}
	return all
}

// oneOf reads one of the known words.
func (d *decoder) oneOf(n ast.Node, known ...string) string {
	want := config.List(known)
	w := d.text(n, want)
	if w.Value == "" || slices.Contains(known, w.Value) {
		return w.Value
	}
	d.errorAt(w.Position, "found %s, expected %s%s", config.Quote(w.Value), want, d.suggest.Hint(w.Value, known))
	return ""
}

// integer reads a whole number between low and high.
func (d *decoder) integer(n ast.Node, low, high int) int {
	v, ok := wholeNumber(n)
	if ok && v >= low && v <= high {
		return v
	}
	d.errorf(n, "found %s, expected a whole number from %d to %d", describe(n), low, high)
	return 0
}

// integerOr reads a whole number, or a word that gives -1.
func (d *decoder) integerOr(n ast.Node, low, high int, other string) int {
	if s := scalarOf(n); s.kind == text && s.text == other {
		return -1
	}
	v, ok := wholeNumber(n)
	if ok && v >= low && v <= high {
		return v
	}
	d.errorf(n, "found %s, expected a whole number from %d to %d, or %s", describe(n), low, high, other)
	return 0
}

// wholeNumber returns the number that n is. Only decimal digits are taken: 010
// and 0x10 mean different numbers to different readers.
func wholeNumber(n ast.Node) (v int, ok bool) {
	s := scalarOf(n)
	v, err := strconv.Atoi(s.text)
	return v, s.kind == number && err == nil && strconv.Itoa(v) == s.text
}

// decimal reads a number between low and high.
func (d *decoder) decimal(n ast.Node, low, high float64) float64 {
	v, ok := decimalNumber(n)
	if ok && v >= low && v <= high {
		return v
	}
	d.errorf(n, "found %s, expected a number from %s to %s", describe(n), decimalText(low), decimalText(high))
	return 0
}

// decimalOrOff reads a number between low and high, or off, which gives -1.
func (d *decoder) decimalOrOff(n ast.Node, low, high float64) float64 {
	if s := scalarOf(n); s.kind == text && s.text == "off" {
		return -1
	}
	v, ok := decimalNumber(n)
	if ok && v >= low && v <= high {
		return v
	}
	d.errorf(n, "found %s, expected a number from %s to %s, or off", describe(n), decimalText(low), decimalText(high))
	return 0
}

// decimalNumber returns the number that n is, written without an exponent.
func decimalNumber(n ast.Node) (v float64, ok bool) {
	s := scalarOf(n)
	v, err := strconv.ParseFloat(s.text, 64)
	return v, s.kind == number && err == nil && prefix(s.text, "0123456789.") == len(s.text)
}

// decimalText prints v the way the file writes it.
func decimalText(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// toggle reads a boolean.
func (d *decoder) toggle(n ast.Node) (on, ok bool) {
	switch s := scalarOf(n); {
	case s.kind == boolean:
		return strings.EqualFold(s.text, "true"), true
	case s.kind == text && s.text == "on":
		return true, true
	case s.kind == text && s.text == "off":
		return false, true
	}
	d.errorf(n, "found %s, expected on or off", describe(n))
	return false, false
}
