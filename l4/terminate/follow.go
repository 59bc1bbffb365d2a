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

// lookEvery is how often the files of a Followed are looked at. The files that
// rotate are those of certificates and secrets; nobody notices half a second.
const lookEvery = 500 * time.Millisecond

// Followed is what files say, and go on to say when they change. What cannot
// be loaded, such as a key that does not fit its certificate because only one
// of them was written yet, leaves the old value in place. Files are looked at
// by name each time, so that renaming and symbolic links work.
type Followed[T any] struct {
	load  func() (T, error)
	files []string
	now   atomic.Pointer[T]
	seen  []stamp
	next  []stamp // what they are at the moment, where that is not seen
	told  string  // the last error
}

// stamp tells one state of a file from another.
type stamp struct {
	size  int64
	mtime time.Time
	inode any
}

// Follow loads the value. The files are looked at again while Watch runs.
func Follow[T any](files []string, load func() (T, error)) (*Followed[T], error) {
	f := &Followed[T]{load: load, files: files, seen: stamps(files)}
	v, err := load()
	if err != nil {
		return nil, err
	}
	f.now.Store(&v)
	return f, nil
}

// Get returns what holds now.
func (f *Followed[T]) Get() T { return *f.now.Load() }

// Watch looks at the files until ctx is done, and calls changed after each
// change, or with an error that is new.
func (f *Followed[T]) Watch(ctx context.Context, changed func(error)) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.look(changed)
		}
	}
}

// look loads the value when the files are not what they were, and stay what
// they are from one look to the next: half a file may make sense. Files that
// change while they are read are read again the next time.
func (f *Followed[T]) look(changed func(error)) {
	at := stamps(f.files)
	if slices.Equal(at, f.seen) || !slices.Equal(at, f.next) {
		f.next = at
		return
	}
	v, err := f.load()
	if err == nil && !slices.Equal(stamps(f.files), at) {
		err = errors.New("the files changed while they were read")
	}
	if err != nil {
		if f.told != err.Error() {
			f.told = err.Error()
			changed(fmt.Errorf("the old ones stay in use: %w", err))
		}
		return
	}
	f.seen, f.told = at, ""
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
