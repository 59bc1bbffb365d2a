package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// Write writes r as indented JSON. Figures that are not finite are left out.
func (r *Report) Write(w io.Writer) error {
	for i := range r.Workloads {
		for _, s := range r.Workloads[i].Samples {
			for name, v := range s.Values {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					delete(s.Values, name)
				}
			}
		}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(r)
}

// Read reads the output of Write, and refuses other versions of the schema.
func Read(in io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return nil, fmt.Errorf("not a report of culvert-bench: %w", err)
	}
	if r.Schema != SchemaVersion {
		return nil, fmt.Errorf("the report has version %d of the schema, this program reads %d", r.Schema, SchemaVersion)
	}
	return &r, r.check()
}

// check verifies what the rest of the package relies on.
func (r *Report) check() error {
	if len(r.Peers) == 0 {
		return errors.New("the report has no peers")
	}
	for i := range r.Workloads {
		if len(r.Workloads[i].Metrics) == 0 {
			return fmt.Errorf("workload %q has no metrics", r.Workloads[i].Name)
		}
	}
	return nil
}
