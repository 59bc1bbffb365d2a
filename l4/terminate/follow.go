package terminate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// pollInterval is how often the files of a Followed are checked. Certificates
// and secrets change so rarely that half a second makes no difference.
const pollInterval = 500 * time.Millisecond

// Followed is a value that is loaded from files, and loaded again when they
// change. Files that cannot be loaded, such as a key that does not match its
// certificate because only one of the two has been written, leave the old value
// in use. Files are checked by name each time, so that renamed files and
// symbolic links work.
type Followed[T any] struct {
	load    func() (T, error)
	files   []string
	now     atomic.Pointer[T]
	seen    []stamp
	next    []stamp // state in the last poll, if it differs from seen
	lastErr string  // text of the last error that was reported
}

// stamp identifies one state of a file.
type stamp struct {
	size  int64
	mtime time.Time
	inode any
}

// Follow loads the value. Changes of the files take effect while Watch runs.
func Follow[T any](files []string, load func() (T, error)) (*Followed[T], error) {
	f := &Followed[T]{load: load, files: files, seen: stamps(files)}
	v, err := load()
	if err != nil {
		return nil, err
	}
	f.now.Store(&v)
	return f, nil
}

// Get returns the current value. It is safe for concurrent use.
func (f *Followed[T]) Get() T { return *f.now.Load() }

// Watch checks the files until ctx is done. It calls changed with nil after each
// change, and with an error when that differs from the last one. Only one Watch
// may run at a time.
func (f *Followed[T]) Watch(ctx context.Context, changed func(error)) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.poll(changed)
		}
	}
}

// poll loads the value when the files have changed and then stayed the same
// from one poll to the next, because half of a file may be valid by itself.
// Files that change while they are read are read again at the next poll.
func (f *Followed[T]) poll(changed func(error)) {
	at := stamps(f.files)
	if slices.Equal(at, f.seen) || !slices.Equal(at, f.next) {
		f.next = at
		return
	}
	v, err := f.load()
	if err == nil && !slices.Equal(stamps(f.files), at) {
		err = errors.New("files changed while they were being read")
	}
	if err != nil {
		if f.lastErr != err.Error() {
			f.lastErr = err.Error()
			changed(fmt.Errorf("keeping the previous ones: %w", err))
		}
		return
	}
	f.seen, f.lastErr = at, ""
	f.now.Store(&v)
	changed(nil)
}

func stamps(files []string) []stamp {
	all := make([]stamp, len(files))
	for i, name := range files {
		if s, err := os.Stat(name); err == nil {
			all[i] = stamp{s.Size(), s.ModTime(), inode(s)}
		}
	}
	return all
}
