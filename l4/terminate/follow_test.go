package terminate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// write creates a file.
func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// rename creates a file under another name and renames it.
func rename(t testing.TB, name, text string) {
	t.Helper()
	write(t, name+".new", text)
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// following is a Followed with the errors that it has reported.
type following struct {
	*Followed[string]
	said []string
}

// startFollowing follows files. The value is their concatenated contents; a "!"
// in them is an error.
func startFollowing(t testing.TB, files ...string) *following {
	t.Helper()
	f, err := Follow(files, func() (string, error) {
		var all string
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				return "", err
			}
			all += string(b)
		}
		if strings.Contains(all, "!") {
			return "", fmt.Errorf("%q is invalid", all)
		}
		return all, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return &following{Followed: f}
}

func (f *following) note(err error) {
	if err != nil {
		f.said = append(f.said, "error")
		return
	}
	f.said = append(f.said, f.Get())
}

// settle polls until the current state of the files has been seen twice.
func (f *following) settle() {
	f.poll(f.note)
	f.poll(f.note)
}

// A change takes effect however it is made, and is reported once.
func TestFollowChanges(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	write(t, file, "one")
	f := startFollowing(t, file)
	for i, change := range []func(text string){
		func(text string) { write(t, file, text) },
		func(text string) { rename(t, file, text) },
		func(text string) { // same size and time, other file
			info, _ := os.Stat(file)
			write(t, file+".new", text)
			_ = os.Chtimes(file+".new", info.ModTime(), info.ModTime())
			_ = os.Rename(file+".new", file)
		},
		func(text string) {
			write(t, filepath.Join(dir, "b"), text)
			_ = os.Remove(file)
			_ = os.Symlink("b", file)
		},
		func(text string) { // the target of the symbolic link
			rename(t, filepath.Join(dir, "b"), text)
		},
	} {
		want := fmt.Sprint("value", i)
		change(want)
		f.settle()
		f.settle()
		if f.Get() != want || !slices.Equal(f.said, []string{want}) {
			t.Errorf("change %d: got %q, reported %q, want %q", i, f.Get(), f.said, want)
		}
		f.said = nil
	}
}

// Invalid files leave the old value in use, are reported once, and are replaced
// when they become valid.
func TestFollowErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	write(t, file, "one")
	f := startFollowing(t, file)
	for _, step := range []struct {
		do   func()
		want string
		said []string
	}{
		{func() { write(t, file, "two!") }, "one", []string{"error"}},
		{func() {}, "one", nil},
		{func() { write(t, file, "three!") }, "one", []string{"error"}},
		{func() { _ = os.Remove(file) }, "one", []string{"error"}},
		{func() { write(t, file, "four") }, "four", []string{"four"}},
		{func() { write(t, file, "five!") }, "four", []string{"error"}},
		{func() { write(t, file, "six6") }, "six6", []string{"six6"}},
		{func() { _ = os.Chmod(file, 0o644) }, "six6", nil},
	} {
		step.do()
		f.settle()
		if f.Get() != step.want || !slices.Equal(f.said, step.said) {
			t.Errorf("got %q, reported %q, want %q, %q", f.Get(), f.said, step.want, step.said)
		}
		f.said = nil
	}
	if _, err := Follow([]string{"x"}, func() (int, error) { return 0, errors.New("unfit") }); err == nil {
		t.Error("Follow accepts files that are invalid at the start")
	}
}

// A file that is still being written is not loaded.
func TestFollowWaitsForWriters(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	write(t, file, "one")
	f := startFollowing(t, file)
	text := "a longer text"
	for n := range text {
		write(t, file, text[:n+1])
		f.poll(f.note)
	}
	if f.Get() != "one" || len(f.said) > 0 {
		t.Errorf("got %q, reported %q while the file was being written", f.Get(), f.said)
	}
	f.poll(f.note)
	if f.Get() != text {
		t.Errorf("got %q, want %q", f.Get(), text)
	}
}

// Watch polls until its context is done.
func TestFollowWatch(t *testing.T) {
	t.Parallel() // mostly waiting
	file := filepath.Join(t.TempDir(), "a")
	write(t, file, "one")
	f := startFollowing(t, file)
	ctx, cancel := context.WithCancel(context.Background())
	told, done := make(chan error, 1), make(chan bool)
	go func() {
		f.Watch(ctx, func(err error) { told <- err })
		close(done)
	}()
	write(t, file, "two")
	if err := within(t, "the change is reported", told); err != nil || f.Get() != "two" {
		t.Errorf("got %q, %v", f.Get(), err)
	}
	cancel()
	within(t, "Watch returns", done)
}

// site is a certificate with its chain, and its key, in PEM.
type site struct{ chain, key string }

// newSite returns a site with an intermediate that the client does not have.
func newSite(t testing.TB) site {
	t.Helper()
	root, _ := authority()
	between := root.newCA(t, "between")
	leaf := between.newClient(t, "server", withUsage(x509.ExtKeyUsageServerAuth), func(c *x509.Certificate) { c.DNSNames = []string{chat} })
	der, err := x509.MarshalPKCS8PrivateKey(leaf.key)
	if err != nil {
		t.Fatal(err)
	}
	return site{string(pemOf(leaf, between)), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))}
}

// Replacing certificates a hundred times under load, in three ways, fails no
// handshake: clients get either the old or the new certificate, complete.
func TestCertificatesRotateUnderLoad(t *testing.T) {
	rotations := 100
	if raced() {
		rotations = 30
	}
	dir := t.TempDir()
	now := filepath.Join(dir, "now")
	if err := os.Mkdir(filepath.Join(dir, "0"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("0", now); err != nil {
		t.Fatal(err)
	}
	pair := KeyPair{filepath.Join(now, "cert.pem"), filepath.Join(now, "key.pem")}
	sites := []site{newSite(t), newSite(t), newSite(t)}
	write(t, pair.Certificate, sites[0].chain)
	write(t, pair.Key, sites[0].key)
	f, err := Follow(filesOf([]KeyPair{pair}), func() (*Certificates, error) { return LoadCertificates([]KeyPair{pair}) })
	if err != nil {
		t.Fatal(err)
	}
	server := startRecorder(t, nil)
	r := startRig(t, setting{Config: Config{Certificates: f.Get, Handshakes: NewHandshakeLimiter(4)}}, server.addr)

	var handshakes, stop = atomic.Int64{}, make(chan bool)
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := tls.DialWithDialer(&net.Dialer{Timeout: testTimeout}, "tcp", r.addr, r.tls())
				if err != nil {
					t.Error(err)
					return
				}
				handshakes.Add(1)
				c.Close()
			}
		})
	}
	look := func() { f.poll(func(error) {}) }
	settle := func() { look(); look() }
	for i := range rotations {
		next := sites[(i+1)%len(sites)]
		switch i % 3 {
		case 0:
			rename(t, pair.Certificate, next.chain)
			settle()
			rename(t, pair.Key, next.key)
		case 1:
			to := filepath.Join(dir, fmt.Sprint(i))
			if err := os.Mkdir(to, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(to, "cert.pem"), next.chain)
			write(t, filepath.Join(to, "key.pem"), next.key)
			if err := errors.Join(os.Symlink(filepath.Base(to), now+".new"), os.Rename(now+".new", now)); err != nil {
				t.Fatal(err)
			}
		case 2:
			for _, part := range []int{0, 10, len(next.chain) / 2, len(next.chain) - 10, len(next.chain)} {
				write(t, pair.Certificate, next.chain[:part])
				settle()
			}
			for _, part := range []int{0, 10, len(next.key) - 10, len(next.key)} {
				write(t, pair.Key, next.key[:part])
				settle()
			}
		}
		settle()
		conn := r.dial(r.tls())
		want, _ := pem.Decode([]byte(next.chain))
		if got := conn.ConnectionState().PeerCertificates; !bytes.Equal(got[0].Raw, want.Bytes) || len(got) != 2 {
			t.Fatalf("rotation %d: clients get the old certificate, or a chain of %d instead of 2", i, len(got))
		}
		conn.Close()
	}
	close(stop)
	clients.Wait()
	t.Logf("%d handshakes in total", handshakes.Load())
	if all := r.refusals(); len(all) > 0 {
		t.Errorf("%d handshakes failed: %v", len(all), all[0])
	}
}

// An incomplete chain is refused, also if the key is the same: the part that has
// been written contains a certificate, but clients cannot verify it.
func TestLoadCertificates(t *testing.T) {
	one, two := newSite(t), newSite(t)
	dir := t.TempDir()
	pair := KeyPair{filepath.Join(dir, "cert"), filepath.Join(dir, "key")}
	for _, tt := range []struct {
		name, chain, key string
		ok               bool
	}{
		{"good", one.chain, one.key, true},
		{"key first, in one text", one.key + one.chain, one.key, true},
		{"with a comment", "about it\n" + one.chain, one.key, true},
		{"another key", one.chain, two.key, false},
		{"no key", one.chain, "", false},
		{"no certificate", "", one.key, false},
		{"half of the chain", one.chain[:len(one.chain)*3/4], one.key, false},
		{"all but the end of the chain", one.chain[:len(one.chain)-5], one.key, false},
		{"half of the key", one.chain, one.key[:len(one.key)/2], false},
		{"no PEM", "hello", one.key, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write(t, pair.Certificate, tt.chain)
			write(t, pair.Key, tt.key)
			c, err := LoadCertificates([]KeyPair{pair})
			if (err == nil) != tt.ok {
				t.Fatalf("got %v, want success: %v", err, tt.ok)
			}
			if err != nil {
				return
			}
			if len(c.Leaves()) != 1 || !c.Expires().Equal(c.Leaves()[0].NotAfter) || time.Until(c.Expires()) <= 0 {
				t.Errorf("got %v, %v", c.Leaves(), c.Expires())
			}
		})
	}
	if _, err := LoadCertificates(nil); err == nil {
		t.Error("loading no files at all succeeded")
	}
	if _, err := LoadCertificates([]KeyPair{{dir + "/x", dir + "/y"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want an error about a missing file", err)
	}
}
