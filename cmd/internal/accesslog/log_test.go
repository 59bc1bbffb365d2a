package accesslog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"culvert/cmd/internal/spool"
	"culvert/l4"
)

// record returns a record of a connection that was relayed.
func record(id uint64) *l4.Record {
	return &l4.Record{
		ID:         id,
		Start:      time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		Client:     netip.MustParseAddrPort("192.0.2.7:40000"),
		Listener:   ":443",
		ServerName: "chat.example.com",
		ALPN:       "h2,http/1.1",
		Route:      "chat.example.com",
		Pool:       "mattermost",
		Server:     "10.0.0.11:443",
		BytesUp:    517,
		BytesDown:  4096,
		Hello:      1500 * time.Microsecond,
		Connect:    2 * time.Millisecond,
		FirstByte:  3 * time.Millisecond,
		Total:      1250 * time.Millisecond,
		EndedBy:    l4.Client,
		Reason:     l4.ReasonClosed,
	}
}

// ids is the Format of tests that check which records arrive.
func ids(b *bytes.Buffer, r *l4.Record) { fmt.Fprintf(b, "%d\n", r.ID) }

// gate is a writer that blocks until it is opened.
type gate struct {
	entered chan struct{} // receives once for each Write
	open    chan struct{}
	bytes.Buffer
}

func newGate() *gate {
	return &gate{entered: make(chan struct{}, 1000), open: make(chan struct{})}
}

func (g *gate) Write(p []byte) (int, error) {
	g.entered <- struct{}{}
	<-g.open
	return g.Buffer.Write(p)
}

func closeLog(t *testing.T, l *Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// expired returns a context that is done.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestRecordsKeepTheirOrder(t *testing.T) {
	var out, want bytes.Buffer
	l := New(&out, Options{Queue: 1000, Gather: time.Microsecond, Format: ids})
	for i := range uint64(1000) {
		l.Add(record(i))
		fmt.Fprintln(&want, i)
	}
	closeLog(t, l)
	if out.String() != want.String() {
		t.Errorf("the lines differ from 0 to 999 in order: %.200q", out.String())
	}
	if l.Dropped() != 0 {
		t.Errorf("dropped %d", l.Dropped())
	}
}

func TestEveryRecordIsWrittenOrCounted(t *testing.T) {
	const loops, each = 4, 20000
	var out bytes.Buffer
	l := New(&out, Options{Queue: 64, Gather: time.Microsecond, Format: ids})
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			for i := range uint64(each) {
				l.Add(record(i))
			}
		})
	}
	wg.Wait()
	closeLog(t, l)
	written := uint64(bytes.Count(out.Bytes(), []byte{'\n'}))
	if got := written + l.Dropped(); got != loops*each {
		t.Errorf("written %d + dropped %d = %d, want %d", written, l.Dropped(), got, loops*each)
	}
}

func TestFullQueueDropsTheNewest(t *testing.T) {
	g := newGate()
	l := New(g, Options{Queue: 3, Gather: time.Microsecond, Format: ids})
	l.Add(record(1))
	<-g.entered // the writer holds record 1
	for id := uint64(2); id <= 6; id++ {
		l.Add(record(id))
	}
	if got := l.Dropped(); got != 2 {
		t.Errorf("dropped %d, want 2", got)
	}
	close(g.open)
	closeLog(t, l)
	if got, want := g.String(), "1\n2\n3\n4\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

func TestTheCallersTriesAreCopied(t *testing.T) {
	g := newGate()
	l := New(g, Options{Gather: time.Microsecond, Format: func(b *bytes.Buffer, r *l4.Record) {
		for _, try := range r.Tries {
			fmt.Fprintln(b, try.Server)
		}
		fmt.Fprintln(b)
	}})
	l.Add(record(1))
	<-g.entered
	r := record(2)
	r.Tries = []l4.Try{{Server: "first"}}
	l.Add(r)
	r.Tries[0].Server = "reused"
	close(g.open)
	closeLog(t, l)
	if got, want := g.String(), "\nfirst\n\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

func TestCloseGivesUpOnAStuckOutput(t *testing.T) {
	g := newGate()
	l := New(g, Options{Gather: time.Microsecond})
	l.Add(record(1))
	<-g.entered
	if err := l.Close(expired()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	l.Add(record(2))
	if got := l.Dropped(); got != 1 {
		t.Errorf("after Close, dropped %d, want 1", got)
	}
	close(g.open)
	closeLog(t, l) // a second Close is allowed and waits for the remaining records
}

func TestNilLogDiscards(t *testing.T) {
	l, err := Open(Off, Options{})
	if l != nil || err != nil {
		t.Fatalf("got %v, %v", l, err)
	}
	l.Add(record(1))
	closeLog(t, l)
	if l.Dropped() != 0 {
		t.Error("off counts drops")
	}
}

// flaky is a writer that fails while fail is not negative, after it has written
// that many bytes.
type flaky struct {
	mu   sync.Mutex
	fail int // bytes taken before the failure; negative: works
	out  bytes.Buffer
	errs chan struct{} // receives once for each failure
}

func (f *flaky) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail < 0 {
		return f.out.Write(p)
	}
	n, _ := f.out.Write(p[:min(f.fail, len(p))])
	f.errs <- struct{}{}
	return n, syscall.ENOSPC
}

func (f *flaky) set(fail int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func TestAFailedWriteDoesNotAffectLaterLines(t *testing.T) {
	var engine bytes.Buffer
	f := &flaky{fail: 3, errs: make(chan struct{}, 10)}
	l := New(f, Options{
		Gather: time.Microsecond,
		Log:    slog.New(slog.NewTextHandler(&engine, nil)),
		Format: func(b *bytes.Buffer, r *l4.Record) { fmt.Fprintf(b, "line %d\n", r.ID) },
	})
	l.Add(record(1))
	<-f.errs
	l.Add(record(2))
	<-f.errs
	f.set(-1)
	l.Add(record(3))
	closeLog(t, l)
	if got, want := f.out.String(), "lin\nline 3\n"; got != want && got != "lin\n\nline 3\n" {
		t.Errorf("wrote %q, want %q", got, want)
	}
	if l.Dropped() != 2 {
		t.Errorf("dropped %d, want 2", l.Dropped())
	}
	if got := strings.Count(engine.String(), "cannot be written"); got != 1 {
		t.Errorf("%d error messages, want 1:\n%s", got, &engine)
	}
	if !strings.Contains(engine.String(), "lines_lost=2") {
		t.Errorf("recovery not reported:\n%s", &engine)
	}
}

func TestFIFOWhoseReaderStopped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	l, err := Open(path, Options{Queue: 100, Gather: time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	// More than a pipe (64 KiB) and the queue can hold.
	for l.Dropped() == 0 {
		l.Add(record(1))
	}
	if err := l.Close(expired()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	closeLog(t, l) // the writer is not stuck in a FIFO that was closed
}

func TestFIFOWithoutReaderIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("got %v, want ENXIO", err)
	}
}

func TestClosedPipeIsCounted(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	l := New(w, Options{})
	l.Add(record(1))
	closeLog(t, l)
	if l.Dropped() != 1 {
		t.Errorf("dropped %d, want 1", l.Dropped())
	}
}

func TestFullDiskIsCounted(t *testing.T) {
	l, err := Open("/dev/full", Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.Add(record(1))
	closeLog(t, l)
	if l.Dropped() != 1 {
		t.Errorf("dropped %d, want 1", l.Dropped())
	}
}

func TestFileIsAppendedTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	for id := uint64(1); id <= 2; id++ {
		l, err := Open(path, Options{Format: ids})
		if err != nil {
			t.Fatal(err)
		}
		l.Add(record(id))
		closeLog(t, l)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != "1\n2\n" {
		t.Errorf("got %q, %v", got, err)
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm()&^0o640 != 0 {
		t.Errorf("mode %v, %v: want at most 0640", fi.Mode(), err)
	}
}

func TestOpenNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "access.log")
	_, err := Open(path, Options{})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

func TestStandardStreamsAreNotClosed(t *testing.T) {
	for _, dest := range []string{Stdout, Stderr} {
		l, err := Open(dest, Options{})
		if err != nil {
			t.Fatal(err)
		}
		closeLog(t, l)
	}
	if _, err := os.Stdout.Write(nil); err != nil {
		t.Error(err)
	}
}

func TestAddDoesNotAllocate(t *testing.T) {
	g := newGate()
	l := New(g, Options{Queue: 100})
	r := record(1)
	l.Add(r)
	<-g.entered // the writer is blocked
	if got := testing.AllocsPerRun(50, func() { l.Add(r) }); got != 0 {
		t.Errorf("%v allocations a record", got)
	}
	close(g.open)
	closeLog(t, l)
}

// idle returns a Log without a writer, so that a benchmark measures Add
// alone.
func idle() *Log {
	return &Log{spool: &spool.Spool[entry]{Queue: spool.NewQueue[entry](DefaultQueue)}}
}

func BenchmarkAdd(b *testing.B) {
	l := idle()
	r := record(1)
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		l.Add(r)
		if n%DefaultQueue == 0 {
			b.StopTimer()
			for e := (entry{}); l.spool.Take(&e); {
			}
			b.StartTimer()
		}
	}
}

func BenchmarkAddToFullQueue(b *testing.B) {
	l := idle()
	r := record(1)
	b.ReportAllocs()
	for b.Loop() {
		l.Add(r)
	}
}

func BenchmarkAddFromTwoLoops(b *testing.B) {
	l := New(io.Discard, Options{Format: func(*bytes.Buffer, *l4.Record) {}})
	b.ReportAllocs()
	b.SetParallelism(1)
	b.RunParallel(func(pb *testing.PB) {
		r := record(1)
		for pb.Next() {
			l.Add(r)
		}
	})
}
