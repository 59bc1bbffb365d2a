package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// DefaultFactor is the allowed growth of a ratio if the baseline has none. The
// machines are shared, and the effects of other load on memory and branch
// prediction differ between a benchmark and its reference.
const DefaultFactor = 1.5

// baseline is the accepted cost of the benchmarks.
type baseline struct {
	Arch       string  `json:"arch"` // GOARCH
	CPU        string  `json:"cpu"`
	Benchmarks []entry `json:"benchmarks"`
}

// entry is a benchmark's cost.
type entry struct {
	name
	Allocs int64 `json:"allocs"` // an operation
	Bytes  int64 `json:"bytes"`  // an operation

	Reference string  `json:"reference,omitempty"` // a benchmark of the same package
	Ratio     float64 `json:"ratio,omitempty"`     // time, relative to the reference
	Factor    float64 `json:"factor,omitempty"`    // allowed growth of Ratio
}

// check returns an error if an entry, which may have been edited by hand, is
// invalid.
func (e *entry) check() error {
	switch {
	case e.Benchmark == "":
		return errors.New("no benchmark's name")
	case e.Allocs < 0 || e.Bytes < 0:
		return errors.New("less than nothing is allocated")
	case e.Reference == "" && (e.Ratio != 0 || e.Factor != 0):
		return errors.New("a ratio needs a reference")
	case e.Reference != "" && (e.Ratio <= 0 || e.Factor < 1):
		return errors.New("a reference needs a ratio above 0 and a factor of at least 1")
	}
	return nil
}

// readBaseline reads the file. The error for a missing file is fs.ErrNotExist.
func readBaseline(file string) (*baseline, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	base := &baseline{}
	if err := dec.Decode(base); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	seen := map[name]bool{}
	for _, e := range base.Benchmarks {
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", file, e.name, err)
		}
		if seen[e.name] {
			return nil, fmt.Errorf("%s: %s is there twice", file, e.name)
		}
		seen[e.name] = true
	}
	return base, nil
}

// write replaces the file atomically. Each benchmark is on one line, so that a
// diff shows what changed.
func (base *baseline) write(file string) error {
	text := new(bytes.Buffer)
	fmt.Fprintf(text, "{\n\"arch\": %s,\n\"cpu\": %s,\n\"benchmarks\": [", quoted(base.Arch), quoted(base.CPU))
	for i := range base.Benchmarks {
		if i > 0 {
			text.WriteByte(',')
		}
		line, err := json.Marshal(&base.Benchmarks[i])
		if err != nil {
			return err
		}
		fmt.Fprintf(text, "\n%s", line)
	}
	text.WriteString("\n]\n}\n")
	return replace(file, text.Bytes())
}

func quoted(s string) []byte {
	b, _ := json.Marshal(s) // a string does not fail
	return b
}

func replace(file string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".baseline-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it has been renamed
	_, err = tmp.Write(text)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}

// accept returns a baseline with the measured figures. Factors set in old are
// kept.
func (o *output) accept(old *baseline) (*baseline, error) {
	factors := map[name]float64{}
	for _, e := range old.Benchmarks {
		factors[e.name] = e.Factor
	}
	base := &baseline{Arch: o.arch, CPU: o.cpu}
	for _, n := range o.names {
		if n.isReference() {
			continue
		}
		e := entry{name: n, Reference: o.reference(n)}
		e.Allocs, e.Bytes = o.memory(n)
		if e.Reference != "" {
			ratios, err := o.ratios(n, e.Reference)
			if err != nil {
				return nil, err
			}
			e.Ratio = rounded(median(ratios))
			if e.Factor = factors[n]; e.Factor == 0 {
				e.Factor = DefaultFactor
			}
		}
		base.Benchmarks = append(base.Benchmarks, e)
	}
	return base, nil
}

// rounded keeps three digits, because more would change in every diff.
func rounded(v float64) float64 {
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64) // its own format
	return v
}
