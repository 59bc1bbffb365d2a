package accesslog

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Special destinations; any other is the path of a file.
const (
	Stdout = "stdout"
	Stderr = "stderr"
	Off    = "off"
)

// Open starts a Log that writes to a destination: Stdout, Stderr, Off (which
// returns a nil Log), or the path of a file. The file is appended to, or
// created with mode 0640. Close closes the file.
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

// openFile opens without blocking: a FIFO without a reader is an error
// (fifo(7), open(2) ENXIO) instead of blocking the start, and Close can
// interrupt a write to a FIFO.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NONBLOCK, 0o640)
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("%s is a FIFO without a reader, or a socket: %w", path, err)
	}
	return f, err
}
