package yaml

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/token"

	"culvert/cmd/internal/config"
)

// syntaxErrors turns an error of parseYAML into ours.
func (d *decoder) syntaxErrors(err error) config.Errors {
	var known config.Errors
	if errors.As(err, &known) {
		for i := range known {
			known[i].Position.File = d.file
		}
		return known
	}
	var syntax yaml.Error
	if errors.As(err, &syntax) {
		at, what := explainSyntax(syntax.GetMessage(), syntax.GetToken())
		at.File = d.file
		return config.Errors{{Position: at, Message: "not valid YAML: " + what}}
	}
	return config.Errors{{Position: d.whole(), Message: err.Error()}}
}

// explainSyntax says what is wrong in terms of the file, and where. The YAML library tells its errors apart by their text only; one that
// is not known here stays as it is.
func explainSyntax(message string, t *token.Token) (at config.Position, what string) {
	at = tokenPosition(t)
	switch {
	case strings.HasPrefix(message, "could not find end character of"):
		return at, "the quote that opens here is not closed"
	case strings.HasPrefix(message, "value is not allowed in this context"):
		return misplaced(t)
	case message == "mapping value is not allowed in this context":
		return keyInValue(t)
	case message == "unexpected key name", message == "non-map value is specified":
		return at, `expected "key: value", with a space after the colon`
	case message == "sequence end token ']' not found":
		return at, `the "[" here is not closed`
	case message == "could not find flow mapping end token '}'":
		return at, `the "{" here is not closed`
	case message == "',' or ']' must be specified":
		return at, `expected "," or "]": a list above is not closed`
	case message == "',' or '}' must be specified":
		return at, `expected "," or "}": a mapping above is not closed`
	case strings.Contains(message, "tab character"), strings.Contains(message, "found character '\t'"):
		return at, "a tab: indent with spaces"
	case strings.HasSuffix(message, "is a reserved character"):
		return at, "a text that starts with this character must be quoted"
	}
	return at, message
}

// misplaced explains a value that nothing asked for.
func misplaced(t *token.Token) (at config.Position, what string) {
	at = tokenPosition(t)
	if t == nil || t.Prev == nil {
		return at, "nothing may stand here"
	}
	before := tokenPosition(t.Prev)
	if lines := strings.Count(strings.TrimSpace(t.Prev.Origin), "\n"); lines > 0 && isQuoted(t.Prev) {
		return before, fmt.Sprintf("the quote that opens here closes on line %d: is that meant?", before.Line+lines)
	}
	if before.Line < at.Line {
		return at, "the indentation does not fit the lines above"
	}
	return at, "nothing may follow the value: quote it as a whole if this belongs to it"
}

func isQuoted(t *token.Token) bool {
	return t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType
}

// keyInValue explains a colon inside a value. A plain text goes on in lines
// that are indented deeper, so t is two lines when the second is a key that
// was indented too far.
func keyInValue(t *token.Token) (at config.Position, what string) {
	at = tokenPosition(t)
	if t == nil {
		return at, "a key may not stand here"
	}
	origin := strings.TrimRight(t.Origin, " \n\r")
	if i := strings.LastIndexByte(origin, '\n'); i >= 0 {
		text := strings.TrimLeft(origin, "\n\r ")
		last := origin[i+1:]
		if lines := strings.Count(text, "\n"); lines > 0 {
			return config.Position{Line: at.Line + lines, Column: 1 + prefix(last, " ")}, "the indentation does not fit the lines above"
		}
	}
	return at, `a text with ": " in it must be quoted`
}
