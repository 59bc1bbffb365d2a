// Package yaml reads culvert.yaml: strict YAML, in which a key that is not
// known, a number without its unit or a value out of range is an error with its
// line and column. It fills the model of package config and does nothing else.
//
// The keys are tables (keys*.go), one for each mapping of the file: what a key
// is called, how its value is written, its range, its default, what it means,
// and where in the model it goes. From the tables come the decoder, its "did you
// mean", the JSON Schema ([Schema]) and the tables of docs/configuration.md
// ([Reference]).
//
// What texts mean, which pools exist, and what two keys say about each other is
// not decided here but by config.Check, which [Load] runs.
package yaml

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"culvert/cmd/internal/config"
)

// MaxSize is the largest file that Load reads, in bytes: room for some hundred
// thousand routes.
const MaxSize = 16 << 20

// maxDepth bounds the nesting of lists and mappings, which the YAML parser
// follows by recursion. culvert.yaml itself is 6 deep.
const maxDepth = 64

// Load reads and checks the file at path. It opens no socket and resolves no
// name. The error is of type [config.Errors] and has everything that is wrong;
// warnings are what is odd.
func Load(path string) (c *config.Config, warnings config.Errors, err error) {
	src, err := read(path)
	if err != nil {
		return nil, nil, config.Errors{{Position: config.Position{File: path}, Message: err.Error()}}
	}
	return Parse(path, src)
}

// Parse is Load for a file that was read already; path is for messages and for
// reading the file again.
func Parse(path string, src []byte) (c *config.Config, warnings config.Errors, err error) {
	d := &decoder{file: path}
	text := strings.TrimPrefix(string(src), "\ufeff")
	if root := d.parse(text); len(d.errs) == 0 {
		c, warnings = d.decode(root)
	}
	within(d.errs, text)
	if err := d.errs.Err(); err != nil {
		return nil, nil, err
	}
	return c, warnings, nil
}

// decode fills a Config from the mapping that the file consists of, and checks
// it.
func (d *decoder) decode(root ast.Node) (c *config.Config, warnings config.Errors) {
	c = &config.Config{Path: d.file}
	c.Position = d.position(root)
	if !fileKeys.decode(d, root, c) {
		return nil, nil
	}
	errs, warnings := c.Check()
	d.errs = append(d.errs, errs...)
	return c, warnings
}

// within moves positions that lie outside src to its end: the YAML library is
// not exact about what follows a multi-line text.
func within(errs config.Errors, src string) {
	lines := strings.Split(src, "\n")
	line, end := 0, 0 // counted last: many errors may be on one long line
	for i := range errs {
		at := &errs[i].Position
		if at.Line > len(lines) {
			at.Line, at.Column = len(lines), math.MaxInt
		}
		if at.Line < 1 {
			at.Line, at.Column = 0, 0
			continue
		}
		if line != at.Line {
			line, end = at.Line, utf8.RuneCountInString(lines[at.Line-1])+1
		}
		at.Column = max(1, min(at.Column, end))
	}
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, cause(err)
	}
	if len(src) > MaxSize {
		return nil, fmt.Errorf("the file is larger than %s", sizeText(MaxSize))
	}
	return src, nil
}

// cause takes the path out of a file error: the message starts with it.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// parse returns the one mapping that the file consists of, or reports why
// there is none.
func (d *decoder) parse(src string) ast.Node {
	if at, bad := notText(src); bad != "" {
		at.File = d.file
		d.errorAt(at, "not a text file: found %s", bad)
		return nil
	}
	docs, err := parseYAML(src)
	if err != nil {
		d.errs = append(d.errs, d.syntaxErrors(err)...)
		return nil
	}
	return d.single(docs)
}

// single returns the body of the only document.
func (d *decoder) single(docs []*ast.DocumentNode) ast.Node {
	var root ast.Node
	for _, doc := range docs {
		switch {
		case doc == nil || doc.Body == nil:
		case root == nil:
			root = doc.Body
		default:
			d.errorf(doc.Body, "a second YAML document starts here, expected one")
			return nil
		}
	}
	if scalarOf(root).kind == null {
		d.errorAt(d.whole(), "the file is empty, expected listeners and pools")
	}
	return root
}

// notText finds the first byte that no YAML file contains.
func notText(src string) (at config.Position, bad string) {
	at = config.Position{Line: 1, Column: 1}
	for i, r := range src {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(src[i:], "\ufffd"):
			return at, fmt.Sprintf("byte %#02x", src[i])
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			return at, fmt.Sprintf("byte %#02x", r)
		case r == '\r' && !strings.HasPrefix(src[i+1:], "\n"):
			return at, "a carriage return that does not end a line"
		}
		at.Column++
		if r == '\n' {
			at = config.Position{Line: at.Line + 1, Column: 1}
		}
	}
	return at, ""
}

// parseYAML is where the YAML library is called. It panics on some malformed
// input (goccy/go-yaml issues 540 and 890), which must not end the process.
func parseYAML(src string) (docs []*ast.DocumentNode, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("not valid YAML: the parser failed (%v)", r)
		}
	}()
	tokens := lexer.Tokenize(src)
	if errs := unsupported(tokens); len(errs) > 0 {
		return nil, errs
	}
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, err
	}
	return f.Docs, nil
}

// unsupported finds what YAML has and this file format does not: they are all
// visible in the tokens, before anything recursive looks at them.
func unsupported(tokens token.Tokens) (errs config.Errors) {
	depth := 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		}
		if depth < 0 {
			return append(errs, errorAtToken(t, "found %q, but nothing is open that it could close", t.Value))
		}
		if depth > maxDepth || isBlockEntry(t) && t.Position.Column > 4*maxDepth {
			return append(errs, errorAtToken(t, "nested more than %d deep", maxDepth))
		}
		if why := refusal(t.Type); why != "" {
			errs = append(errs, errorAtToken(t, "%s", why))
		}
	}
	return errs
}

func errorAtToken(t *token.Token, format string, args ...any) config.Error {
	return config.Error{Position: tokenPosition(t), Message: fmt.Sprintf(format, args...)}
}

func isBlockEntry(t *token.Token) bool {
	return t.Type == token.SequenceEntryType || t.Type == token.MappingKeyType
}

func refusal(t token.Type) string {
	switch t {
	case token.AliasType:
		return `YAML aliases are not supported: write the value out, and quote a text that starts with "*"`
	case token.AnchorType:
		return `YAML anchors are not supported: write the value out, and quote a text that starts with "&"`
	case token.TagType:
		return `YAML tags are not supported: quote a text that starts with "!"`
	case token.MergeKeyType:
		return "YAML merge keys are not supported: write the keys out"
	case token.DirectiveType:
		return `YAML directives are not supported: quote a text that starts with "%"`
	}
	return ""
}
