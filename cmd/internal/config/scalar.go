package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// A scalar is a node that is neither a list nor a mapping.
type scalar struct {
	kind kind
	text string
}

type kind uint8

const (
	notScalar kind = iota
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
		return quote(s.text)
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

// A word is a text of the file and where it stands. The zero word was not set.
type word struct {
	text string
	at   place
}

func (w word) set() bool { return w.at != place{} }

// word reads a text that is not empty.
func (d *decoder) word(n ast.Node, what string) word {
	switch s := scalarOf(n); {
	case s.kind == number || s.kind == boolean:
		d.errorf(n, "found %s, expected a text: %s", s, what)
	case s.kind != text:
		d.errorf(n, "found %s, expected %s", describe(n), what)
	case s.text == "":
		d.errorf(n, "found an empty text, expected %s", what)
	default:
		return word{s.text, placeOf(n)}
	}
	return word{}
}

// words reads one text, or a list of texts.
func (d *decoder) words(n ast.Node, what string) []word {
	if _, ok := n.(*ast.SequenceNode); !ok {
		if w := d.word(n, what); w.set() {
			return []word{w}
		}
		return nil
	}
	var all []word
	for _, e := range d.list(n, what) {
		if w := d.word(e, what); w.set() {
			all = append(all, w)
		}
	}
	return all
}

// oneOf reads one of the known words.
func (d *decoder) oneOf(n ast.Node, known ...string) string {
	want := list(known)
	w := d.word(n, want)
	if !w.set() || slices.Contains(known, w.text) {
		return w.text
	}
	d.errorAt(w.at, "found %s, expected %s%s", quote(w.text), want, d.suggest.hint(w.text, known))
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

// decimalOrOff reads a number between low and high, or off, which gives 0.
func (d *decoder) decimalOrOff(n ast.Node, low, high float64) float64 {
	if s := scalarOf(n); s.kind == text && s.text == "off" {
		return 0
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
func (d *decoder) toggle(n ast.Node) bool {
	switch s := scalarOf(n); {
	case s.kind == boolean:
		return strings.EqualFold(s.text, "true")
	case s.kind == text && s.text == "on":
		return true
	case s.kind == text && s.text == "off":
		return false
	}
	d.errorf(n, "found %s, expected on or off", describe(n))
	return false
}

// name reads what something is called in logs and metrics.
func (d *decoder) name(n ast.Node, what string) word {
	w := d.word(n, what)
	if !w.set() {
		return w
	}
	if err := checkName(w.text); err != nil {
		d.errorAt(w.at, "found %s, expected %s: %v", quote(w.text), what, err)
		return word{}
	}
	return w
}

// maxName is the longest name accepted, in bytes.
const maxName = 128

func checkName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("it is %d bytes long, at most %d fit", len(name), maxName)
	}
	for _, r := range name {
		if r <= ' ' || !strconv.IsPrint(r) {
			return fmt.Errorf("it contains %q", r)
		}
	}
	return nil
}
