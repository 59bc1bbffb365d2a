package report

import (
	"fmt"
	"os"
)

// Progress is a line on a terminal that says what is being done, and that the
// next takes the place of. On anything but a terminal it writes nothing. It
// belongs to one goroutine.
type Progress struct{ out *os.File }

// NewProgress writes to f.
func NewProgress(f *os.File) *Progress {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return &Progress{}
	}
	return &Progress{f}
}

// eraseLine goes to the beginning of the line and erases it (ECMA-48, EL).
const eraseLine = "\r\x1b[K"

// Show replaces the line.
func (p *Progress) Show(format string, args ...any) {
	if p.out != nil {
		fmt.Fprintf(p.out, eraseLine+format, args...)
	}
}

// Clear takes the line away.
func (p *Progress) Clear() { p.Show("") }
