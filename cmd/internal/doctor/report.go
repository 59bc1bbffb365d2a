package doctor

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Result is the result of a check.
type Result string

// The results.
const (
	OK      Result = "ok"
	Warning Result = "warning" // it works, but may stop working, or does not work for all clients
	Wrong   Result = "wrong"
)

// Report is the result of an examination.
type Report struct {
	Result   Result    `json:"result"` // the worst of all checks
	Checks   []Check   `json:"checks"`
	Findings []Finding `json:"findings"`
	Notes    []Note    `json:"notes"`
}

// Check is one check of a server, or of a pool as a whole.
type Check struct {
	Pool     string `json:"pool"`
	Server   string `json:"server,omitempty"` // "": the pool as a whole
	Check    string `json:"check"`
	Result   Result `json:"result"`
	Seen     string `json:"seen,omitempty"`
	Findings []int  `json:"findings,omitempty"` // Finding.Number of each
}

// Finding is something that is wrong, or may become so, at one or more servers
// of a pool.
type Finding struct {
	Number  int      `json:"number"`
	Result  Result   `json:"result"`
	Pool    string   `json:"pool"`
	Servers []string `json:"servers,omitempty"`
	Check   string   `json:"check"`
	Problem string   `json:"problem"`
	Remedy  string   `json:"remedy"`
}

// Note is information that is neither right nor wrong.
type Note struct {
	Pool    string   `json:"pool"`
	Servers []string `json:"servers,omitempty"`
	Text    string   `json:"text"`
}

// A sheet is the results for a server, or for a pool as a whole.
type sheet struct {
	pool, server string
	lines        []*line
}

// A line is the result of one check.
type line struct {
	check    string
	seen     string
	troubles []trouble
	notes    []string
}

type trouble struct {
	result          Result
	problem, remedy string
}

func newLine(check string) *line { return &line{check: check} }

// present leaves out checks that did not apply.
func present(lines ...*line) []*line {
	return slices.DeleteFunc(lines, func(l *line) bool { return l == nil })
}

func (l *line) see(format string, args ...any) { l.seen = printable(fmt.Sprintf(format, args...)) }

// wrong adds a problem. The remedy comes first, before the format of the
// problem.
func (l *line) wrong(remedy, format string, args ...any) { l.add(Wrong, remedy, format, args...) }

func (l *line) warn(remedy, format string, args ...any) { l.add(Warning, remedy, format, args...) }

func (l *line) add(r Result, remedy, format string, args ...any) {
	l.troubles = append(l.troubles, trouble{r, printable(fmt.Sprintf(format, args...)), printable(remedy)})
}

func (l *line) note(format string, args ...any) {
	l.notes = append(l.notes, printable(fmt.Sprintf(format, args...)))
}

// printable replaces unprintable characters, so that text from a server cannot
// control a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

func (l *line) result() Result {
	r := OK
	for _, t := range l.troubles {
		r = worse(r, t.result)
	}
	return r
}

func worse(a, b Result) Result {
	order := []Result{OK, Warning, Wrong}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}

// newReport numbers the findings. Servers of a pool with the same problem share
// one finding.
func newReport(sheets []sheet) *Report {
	r := &Report{Result: OK, Checks: []Check{}, Findings: []Finding{}, Notes: []Note{}}
	for _, s := range sheets {
		for _, l := range s.lines {
			c := Check{Pool: s.pool, Server: s.server, Check: l.check, Result: l.result(), Seen: l.seen}
			for _, t := range l.troubles {
				c.Findings = append(c.Findings, r.find(s, l.check, t))
			}
			for _, text := range l.notes {
				r.note(s, text)
			}
			r.Result = worse(r.Result, c.Result)
			r.Checks = append(r.Checks, c)
		}
	}
	return r
}

// find returns the number of the finding for t, and adds it if it is new.
func (r *Report) find(s sheet, check string, t trouble) int {
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Pool == s.pool && f.Check == check && f.Problem == t.problem && f.Remedy == t.remedy {
			f.Servers = also(f.Servers, s.server)
			return f.Number
		}
	}
	n := len(r.Findings) + 1
	r.Findings = append(r.Findings, Finding{n, t.result, s.pool, also(nil, s.server), check, t.problem, t.remedy})
	return n
}

func (r *Report) note(s sheet, text string) {
	for i := range r.Notes {
		if n := &r.Notes[i]; n.Pool == s.pool && n.Text == text {
			n.Servers = also(n.Servers, s.server)
			return
		}
	}
	r.Notes = append(r.Notes, Note{s.pool, also(nil, s.server), text})
}

func also(servers []string, name string) []string {
	if name == "" || slices.Contains(servers, name) {
		return servers
	}
	return append(servers, name)
}

// Print writes r as text for people.
func (r *Report) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "POOL\tSERVER\tCHECK\tRESULT")
	for _, c := range r.Checks {
		server := c.Server
		if server == "" {
			server = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Pool, server, c.Check, c.text())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, f := range r.Findings {
		fmt.Fprintf(out, "\n%d. %s: %s: %s: %s\n   to do: %s\n", f.Number, f.Result, subject(f.Pool, f.Servers), f.Check, f.Problem, f.Remedy)
	}
	if len(r.Notes) > 0 {
		fmt.Fprintln(out, "\nnotes:")
	}
	for _, n := range r.Notes {
		fmt.Fprintf(out, "- %s: %s\n", subject(n.Pool, n.Servers), n.Text)
	}
	_, err := fmt.Fprintf(out, "\n%s\n", r.summary())
	return err
}

func (r *Report) summary() string {
	count := map[Result]int{}
	for _, c := range r.Checks {
		count[c.Result]++
	}
	return fmt.Sprintf("%d checks: %d ok, %d with a warning, %d wrong", len(r.Checks), count[OK], count[Warning], count[Wrong])
}

// text is the result, the numbers of its findings, and Seen.
func (c *Check) text() string {
	text := string(c.Result)
	if len(c.Findings) > 0 {
		var numbers []string
		for _, n := range c.Findings {
			numbers = append(numbers, strconv.Itoa(n))
		}
		text += " (" + strings.Join(numbers, ", ") + ")"
	}
	if c.Seen != "" {
		text += ": " + c.Seen
	}
	return text
}

func subject(pool string, servers []string) string {
	if len(servers) == 0 {
		return "pool " + pool
	}
	return "pool " + pool + ", " + strings.Join(servers, ", ")
}
