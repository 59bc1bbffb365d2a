package spool

import (
	"bytes"
	"io"
)

// maxLines is how many lines may wait for the output of a Lines.
const maxLines = 1024

// Lines is an io.Writer that never waits, for the log of a program: each Write
// is one element and becomes one write of the output.
type Lines struct{ *Spool[[]byte] }

// NewLines starts a Lines that writes to out, which stays the caller's.
func NewLines(out io.Writer) Lines {
	return Lines{Start(out, Options[[]byte]{
		Queue:  maxLines,
		Format: func(b *bytes.Buffer, line *[]byte) { b.Write(*line) },
	})}
}

// Write queues a copy of p. It never fails.
func (l Lines) Write(p []byte) (int, error) {
	line := bytes.Clone(p)
	l.Add(&line)
	return len(p), nil
}
