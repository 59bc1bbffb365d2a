package yaml

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// object is a part of a JSON Schema.
type object map[string]any

// Schema returns the JSON Schema (draft 2020-12) of culvert.yaml, which editors
// complete and check from. It holds what one value can be: what two keys say
// about each other, and what texts mean, `culvert check` knows.
func Schema() []byte {
	s := fileKeys.schema()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "culvert.yaml"
	s["description"] = "The configuration file of culvert, a TLS-passthrough load balancer."
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // it is made of maps, texts and numbers
	}
	return append(out, '\n')
}

func (m *mapping[T]) schema() object {
	properties := object{}
	var required []string
	for _, k := range m.keys {
		properties[k.name] = k.schema()
		if k.required {
			required = append(required, k.name)
		}
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	if m.short != nil {
		return anyOf(m.short(), s)
	}
	return s
}

func (k *key[T]) schema() object {
	s := k.value.schema()
	text := strings.TrimSuffix(plain(k.meaning), ".") + "."
	if k.def != "" {
		text += " Default: " + plain(k.def) + "."
	}
	s["description"] = text
	if k.example != nil {
		s["examples"] = []any{k.example}
	}
	return s
}

// plain returns Markdown without its marks.
func plain(markdown string) string {
	text := strings.NewReplacer("`", "", "*", "", `\|`, "|").Replace(link.ReplaceAllString(markdown, "$1"))
	return strings.TrimSpace(text)
}

var link = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)

func anyOf(all ...object) object { return object{"anyOf": all} }

func textSchema() object { return object{"type": "string", "minLength": 1} }

func listSchema(of object) object { return object{"type": "array", "items": of, "minItems": 1} }

func textsSchema() object { return anyOf(textSchema(), listSchema(textSchema())) }

// switchSchema is of a boolean of YAML 1.2, or the words on and off, which are
// texts there.
func switchSchema() object {
	return anyOf(object{"type": "boolean"}, object{"enum": []string{"on", "off"}})
}

func enumSchema(words []string) object { return object{"enum": slices.Clone(words)} }

func integerSchema(low, high int) object {
	return object{"type": "integer", "minimum": low, "maximum": high}
}

func numberSchema(low, high float64) object {
	return object{"type": "number", "minimum": low, "maximum": high}
}

func sizeSchema() object {
	return object{"type": "string", "pattern": `^[0-9]+(B|KiB|MiB|GiB)$`}
}

func (s span) schema() object {
	one := object{"type": "string", "pattern": `^([0-9]+(\.[0-9]*)?(ms|s|m|h|d))+$`}
	if s.off {
		return anyOf(one, object{"const": "off"})
	}
	return one
}
