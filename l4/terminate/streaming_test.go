package terminate

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"culvert/l4/terminate/mattermosttest"
)

// peak measures memory until the result is called, which returns the maximum.
func peak() (most func() uint64) {
	var top atomic.Uint64
	stop := make(chan bool)
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond) // measuring interval
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			top.Store(max(top.Load(), m.HeapAlloc+m.StackInuse))
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	return func() uint64 {
		close(stop)
		watching.Wait()
		return top.Load()
	}
}

// hashed hashes what is read from it.
type hashed struct {
	io.Reader
	sum hash.Hash
}

func (h hashed) Read(b []byte) (int, error) {
	n, err := h.Reader.Read(b)
	h.sum.Write(b[:n])
	return n, err
}

// Large bodies are streamed: they are buffered neither in memory nor in files.
func TestLargeBodiesAreStreamed(t *testing.T) {
	const size = 104 << 20
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	up := make(chan [sha256.Size]byte, 1)
	server := startScript(t, func(c net.Conn, b *bufio.Reader) {
		for {
			q, err := http.ReadRequest(b)
			if err != nil {
				return
			}
			h := sha256.New()
			_, _ = io.Copy(h, q.Body)
			if q.Method == "POST" {
				up <- [sha256.Size]byte(h.Sum(nil))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
			_, _ = io.Copy(c, mattermosttest.FileBody("a", size))
		}
	})
	r := startRig(t, setting{}, server)
	eachProtocol(t, func(t *testing.T, protocol string) {
		before := inUse()
		most := peak()
		sent := hashed{mattermosttest.FileBody("a", size), sha256.New()}
		q := newRequest(t, "POST", "/", sent)
		q.ContentLength = size
		client := r.client(protocol)
		client.Timeout = 4 * testTimeout
		if got := r.do(client, q); got.StatusCode != 200 {
			t.Fatalf("got %s", got.Status)
		}
		want := [sha256.Size]byte(sent.sum.Sum(nil))
		if got := <-up; got != want {
			t.Error("different bytes were uploaded")
		}
		res, err := client.Do(newRequest(t, "GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		h := sha256.New()
		if n, err := io.Copy(h, res.Body); n != size || err != nil || [sha256.Size]byte(h.Sum(nil)) != want {
			t.Errorf("%d bytes were downloaded, %v, or different ones", n, err)
		}
		// Both peers and all garbage are in this process, too.
		if got := most(); got > before+32<<20 {
			t.Errorf("memory grew from %d to %d bytes", before, got)
		}
		if files, err := os.ReadDir(temp); err != nil || len(files) > 0 {
			t.Errorf("got files %v, %v", files, err)
		}
		if q := r.report(); q.BytesIn != size {
			t.Errorf("got the report %+v", q)
		}
		if q := r.report(); q.BytesOut != size {
			t.Errorf("got the report %+v", q)
		}
	})
}
