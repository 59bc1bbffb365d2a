package yaml

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	goyaml "github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiled returns the schema as a validator.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("culvert.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("culvert.json") // also validates it against its metaschema
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate holds YAML against the schema, as an editor does.
func validate(s *jsonschema.Schema, src string) error {
	var v any
	if err := goyaml.Unmarshal([]byte(src), &v); err != nil {
		return err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

// TestSchemaAcceptsEveryExample: every whole file in the documents and in the
// tests' data.
func TestSchemaAcceptsEveryExample(t *testing.T) {
	s := compiled(t)
	examples := documentedFiles(t)
	err := filepath.WalkDir(filepath.Join(root, "cmd"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(name, "testdata") {
			return err
		}
		switch filepath.Ext(name) {
		case ".yaml":
			examples[name] = string(readFile(t, name))
		case ".txtar":
			for at, text := range archivedYAML(t, name) {
				examples[at] = text
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for at, text := range examples {
		if _, _, err := Parse(at, []byte(text)); err != nil {
			continue // an example of a mistake, or one that names files of another machine
		}
		accepted++
		if err := validate(s, text); err != nil {
			t.Errorf("%s: %v", at, err)
		}
	}
	if accepted < 10 {
		t.Errorf("%d examples were validated: are they found?", accepted)
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// documentedFiles returns the whole examples of the documents, by place.
func documentedFiles(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, name := range append(names, filepath.Join(root, "README.md")) {
		for i, m := range fenced.FindAllStringSubmatch(string(readFile(t, name)), -1) {
			if m[1] == "yaml" {
				all[fmt.Sprintf("%s, block %d", name, i)] = m[2]
			}
		}
	}
	return all
}

// archivedYAML returns the YAML files of a txtar archive, by place.
func archivedYAML(t *testing.T, name string) map[string]string {
	t.Helper()
	all := map[string]string{}
	file := ""
	for line := range strings.Lines(string(readFile(t, name))) {
		if inner, ok := strings.CutPrefix(line, "-- "); ok {
			file = strings.TrimSuffix(strings.TrimSpace(inner), " --")
			continue
		}
		if strings.HasSuffix(file, ".yaml") {
			all[name+": "+file] += line
		}
	}
	return all
}

// TestSchemaAcceptsEveryKey: what the decoder takes for each key, in all its
// short forms.
func TestSchemaAcceptsEveryKey(t *testing.T) {
	s := compiled(t)
	for _, tt := range allEffects() {
		t.Run(tt.where+" "+tt.text, func(t *testing.T) {
			if err := validate(s, fileWith(tt.where, tt.text)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSchemaRefusesMistakes: an editor marks what one value cannot be.
func TestSchemaRefusesMistakes(t *testing.T) {
	s := compiled(t)
	for _, tt := range []struct{ name, where, text string }{
		{"an unknown key", inFile, "lops: 1"},
		{"an unknown key inside", inListener, "adress: ':443'"},
		{"an unknown key in a timeout", inPTimeouts, "hello: 1s"},
		{"a duration without a unit", inPTimeouts, "connect: 10"},
		{"a duration in a unit that there is not", inPTimeouts, "connect: 10us"},
		{"off where it cannot be", inPTimeouts, "connect: off"},
		{"a size without a unit", inListener, "max_hello: 32768"},
		{"a number out of range", inServer, "weight: 70000"},
		{"a number as a text", inFile, "loops: '3'"},
		{"a word that is none", inPool, "balance: ip-hash"},
		{"a text for a mapping", inFile, "limits: 5"},
		{"a mapping for a text", inListener, "name: {a: b}"},
		{"an empty list", inPool, "servers: []"},
		{"yes for on", inServer, "down: yes"},
		{"a required key that is missing", inFile, "dns: {servers: []}"},
		{"a check without a kind", inPool, "health: {interval: 1s}"},
		{"a status that is none", inHealth, "status: 700"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := fileWith(tt.where, tt.text)
			if err := parseErr(text); err == nil {
				t.Errorf("the decoder takes\n%s", text)
			}
			if err := validate(s, text); err == nil {
				t.Errorf("the schema takes\n%s", text)
			}
		})
	}
}

// TestSchemaDescribesEveryKey: an editor has something to show for each.
func TestSchemaDescribesEveryKey(t *testing.T) {
	var check func(path string, v any)
	check = func(path string, v any) {
		m, ok := v.(map[string]any)
		if !ok {
			return
		}
		for name, p := range asMap(m["properties"]) {
			if text, _ := asMap(p)["description"].(string); len(text) < 3 {
				t.Errorf("%s.%s has no description", path, name)
			}
			check(path+"."+name, p)
		}
		for _, next := range []string{"items", "additionalProperties"} {
			check(path, m[next])
		}
		if all, ok := m["anyOf"].([]any); ok {
			for _, one := range all {
				check(path, one)
			}
		}
	}
	var s any
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	check("", s)
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}
