package yaml

import (
	"fmt"
	"slices"
	"strings"
)

// A row is a key in the reference.
type row struct{ name, typ, def, span, meaning string }

func (m *mapping[T]) rows() (all []row) {
	for _, k := range m.keys {
		r := row{k.name, k.value.typ, k.def, k.value.span, k.meaning}
		if k.required {
			r.def = "required"
		}
		all = append(all, r)
	}
	return all
}

func sortedNames(rows []row) (names []string) {
	for _, r := range rows {
		names = append(names, r.name)
	}
	slices.Sort(names)
	return names
}

// References returns the tables of the reference in Markdown, by the name that
// docs/configuration.md has them under.
func References() map[string]string {
	all := map[string]string{}
	for _, m := range []interface {
		name() string
		rows() []row
	}{
		&fileKeys, &adminKeys, &logKeys, &limitsKeys, &dnsKeys, &notifyKeys,
		&listenerKeys, &listenerTimeoutKeys, &tcpKeys, &keepaliveKeys, &routeKeys,
		&terminateKeys, &keyPairKeys, &encryptKeys, &httpTimeoutKeys, &preauthKeys, &exemptKeys, &clientKeys, &acmeKeys,
		&poolKeys, &poolTimeoutKeys, &serverKeys, &healthKeys, &ejectKeys, &sessionsKeys,
	} {
		all[m.name()] = table(m.name(), m.rows())
	}
	return all
}

func (m *mapping[T]) name() string { return m.id }

func table(id string, rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| key (%s) | type | default | range | meaning |\n|---|---|---|---|---|\n", id)
	for _, r := range rows {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", r.name, r.typ, r.def, r.span, r.meaning)
	}
	return b.String()
}

// markdown is the range of a duration.
func (s span) markdown() string {
	text := fmt.Sprintf("`%s` to `%s`", written(s.min), written(s.max))
	if s.off {
		text += ", `off`"
	}
	return text
}
