package report

import (
	"fmt"
	"os"
)

// Progress is a line on a terminal that shows the current step and is replaced
// by the next. If the output is not a terminal it writes nothing. It must be
// used by one goroutine.
type Progress struct{ out *os.File }

// NewProgress writes to f.
func NewProgress(f *os.File) *Progress {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return &Progress{}
	}
	return &Progress{f}
}

// eraseLine moves to the start of the line and erases it (ECMA-48, EL).
const eraseLine = "\r\x1b[K"

// Show replaces the line.
func (p *Progress) Show(format string, args ...any) {
	if p.out != nil {
		fmt.Fprintf(p.out, eraseLine+format, args...)
	}
}

// Clear erases the line.
func (p *Progress) Clear() { p.Show("") }
