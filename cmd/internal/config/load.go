// Package config reads culvert's configuration file: strict YAML, in which a
// key that is not known, a number without its unit or a pool that does not
// exist is an error with its line and column.
//
// Reading has two steps. [Load] parses and checks everything that can be
// checked without looking outside the file, but for the certificates and the
// group that it names, and opens no socket. [File.Build]
// resolves the host names among the servers' addresses and makes the
// configuration that the data plane runs.
//
// It does not decide defaults of the data plane: what the file leaves out is
// left zero for l4 to fill.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxSize is the largest file that Load reads, in bytes: room for some hundred
// thousand routes.
const MaxSize = 16 << 20

// maxDepth bounds the nesting of lists and mappings, which the YAML parser
// follows by recursion. The schema itself is 6 deep.
const maxDepth = 64

// Load reads and checks the file at path. It opens no socket and resolves no
// name. The error is of type [Errors] and has everything that is wrong.
func Load(path string) (*File, error) {
	src, err := read(path)
	if err != nil {
		return nil, Errors{{File: path, Message: err.Error()}}
	}
	return Parse(path, src)
}

// Parse is Load for a file that was read already; path is for messages.
func Parse(path string, src []byte) (*File, error) {
	d := &decoder{file: path}
	f := d.read(strings.TrimPrefix(string(src), "\ufeff"))
	if err := d.errs.orNil(); err != nil {
		return nil, err
	}
	if _, err := f.Unresolved(); err != nil {
		return nil, err
	}
	d.warnings.sort()
	f.Warnings = d.warnings
	return f, nil
}

// read returns what src says. It is usable only if d has no errors then.
func (d *decoder) read(src string) *File {
	root := d.parse(src)
	if len(d.errs) == 0 {
		f := d.decode(root)
		d.check(f)
		d.errs.within(src)
		return f
	}
	d.errs.within(src)
	return nil
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
		d.errorAt(place{}, "the file is empty, expected listeners and pools")
	}
	return root
}

// notText finds the first byte that no YAML file contains.
func notText(src string) (at place, bad string) {
	at = place{1, 1}
	for i, r := range src {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(src[i:], "\ufffd"):
			return at, fmt.Sprintf("byte %#02x", src[i])
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			return at, fmt.Sprintf("byte %#02x", r)
		case r == '\r' && !strings.HasPrefix(src[i+1:], "\n"):
			return at, "a carriage return that does not end a line"
		}
		at.column++
		if r == '\n' {
			at = place{at.line + 1, 1}
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
func unsupported(tokens token.Tokens) (errs Errors) {
	depth := 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		}
		if depth < 0 {
			return append(errs, tokenPlace(t).error("", "found %q, but nothing is open that it could close", t.Value))
		}
		if depth > maxDepth || isBlockEntry(t) && t.Position.Column > 4*maxDepth {
			return append(errs, tokenPlace(t).error("", "nested more than %d deep", maxDepth))
		}
		if why := refusal(t.Type); why != "" {
			errs = append(errs, tokenPlace(t).error("", "%s", why))
		}
	}
	return errs
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
