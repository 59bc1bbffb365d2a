package result

import "time"

// SchemaVersion is the version of the JSON that this package writes. It
// changes when an older reader would misunderstand the figures.
const SchemaVersion = 1

// Report is one run.
type Report struct {
	Schema    int        `json:"schema"`
	Started   time.Time  `json:"started"`
	Seconds   float64    `json:"seconds"`
	Command   []string   `json:"command"`
	Commit    string     `json:"commit,omitempty"` // of culvert's tree, with "-dirty" appended if it has changes
	Machine   Machine    `json:"machine"`
	Options   Options    `json:"options"`
	Peers     []Peer     `json:"peers"` // the subject first: ratios are its figures divided by those of another
	Workloads []Workload `json:"workloads"`
	Problems  []string   `json:"problems,omitempty"` // what could not be measured, one line each
}

// Machine is where the run took place.
type Machine struct {
	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"`
	MemoryMiB   int64  `json:"memory_mib"`
	Kernel      string `json:"kernel"`
	Go          string `json:"go"`
	FDs         uint64 `json:"fds"` // maximum of descriptors of one process
	Root        bool   `json:"root"`
	Hypervisor  bool   `json:"hypervisor"`
	Mitigations string `json:"mitigations,omitempty"`
	Congestion  string `json:"congestion,omitempty"` // TCP's congestion control
}

// Options are the options of the run.
type Options struct {
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"seconds"` // of one measurement
	Workers int     `json:"workers"` // loops, workers or threads of every proxy
}

// Peer is a proxy that was measured.
type Peer struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

// Workload is one kind of work and its cost on each peer.
type Workload struct {
	Name       string   `json:"name"` // unique and stable: runs are compared by it
	Group      string   `json:"group"`
	GroupTitle string   `json:"group_title"`
	Series     string   `json:"series,omitempty"` // workloads of a group that belong on one chart
	Title      string   `json:"title"`
	X          float64  `json:"x,omitempty"` // position on the chart's x axis; 0 means none
	XLabel     string   `json:"x_label,omitempty"`
	Metrics    []Metric `json:"metrics"` // the first is the headline
	Bars       []Bar    `json:"bars,omitempty"`
	Samples    []Sample `json:"samples"`
}

// Metric is a figure that samples have.
type Metric struct {
	Name   string `json:"name"`
	Unit   string `json:"unit"`
	Higher bool   `json:"higher_is_better,omitempty"`
}

// Values of Bar.Against besides a peer's name.
const (
	Best     = "best"     // the better of nginx and HAProxy
	Absolute = "absolute" // no peer: the subject's figure itself is compared
)

// Bar is a target of the subject: the median of the per-round ratios to Against
// must be at most Max.
type Bar struct {
	Metric  string  `json:"metric"`
	Against string  `json:"against"`
	Max     float64 `json:"max"`
	Goal    float64 `json:"goal,omitempty"` // a more ambitious target; 0 means none
}

// Sample is one measurement.
type Sample struct {
	Peer   string             `json:"peer"`
	Round  int                `json:"round"` // from 0
	Values map[string]float64 `json:"values"`
	Error  string             `json:"error,omitempty"` // the first of a client
}

// Headline returns the main metric of a workload.
func (w *Workload) Headline() Metric { return w.Metrics[0] }

// Peers lists the peers that have samples, the subject and then the others in
// the order of the report.
func (w *Workload) Peers(r *Report) []string {
	var names []string
	seen := map[string]bool{}
	for _, s := range w.Samples {
		seen[s.Peer] = true
	}
	for _, p := range r.Peers {
		if seen[p.Name] {
			names = append(names, p.Name)
			delete(seen, p.Name)
		}
	}
	for _, s := range w.Samples { // variants of the subject
		if seen[s.Peer] {
			names = append(names, s.Peer)
			delete(seen, s.Peer)
		}
	}
	return names
}

// FirstError returns the first error of a client of the peer; "" if there was
// none.
func (w *Workload) FirstError(peer string) string {
	for _, s := range w.Samples {
		if s.Peer == peer && s.Error != "" {
			return s.Error
		}
	}
	return ""
}
