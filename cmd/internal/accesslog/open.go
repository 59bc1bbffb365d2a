package accesslog

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Destinations with a meaning of their own; anything else is a file's path.
const (
	Stdout = "stdout"
	Stderr = "stderr"
	Off    = "off"
)

// Open starts a Log that writes to a destination: Stdout, Stderr, Off (which
// gives a nil Log), or the path of a file, which is created with mode 0640
// or appended to. Close closes the file.
func Open(destination string, opts Options) (*Log, error) {
	switch destination {
	case Off:
		return nil, nil
	case Stdout:
		return New(os.Stdout, opts), nil
	case Stderr:
		return New(os.Stderr, opts), nil
	}
	f, err := openFile(destination)
	if err != nil {
		return nil, fmt.Errorf("open access log: %w", err)
	}
	l := New(f, opts)
	l.closer = f
	return l, nil
}

// openFile opens without blocking: a FIFO nobody reads is an error and not a
// process that never starts, and a write to one can be interrupted by Close
// (fifo(7), open(2) ENXIO).
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NONBLOCK, 0o640)
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("%s is a FIFO or socket that nobody reads: %w", path, err)
	}
	return f, err
}
