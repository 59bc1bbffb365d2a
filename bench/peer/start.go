package peer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// startTries is how many ports are tried when another process has taken the port
// that was found free.
const startTries = 3

// Start writes the peer's configuration into a new folder below dir, starts
// it, and returns once it accepts connections on loopback; the caller stops
// it. It fails at once when the process ends, and after 10 s. ctx bounds the
// start only. Nothing is left behind when Start fails.
//
// With Unprivileged, dir is made searchable for all users. The soft limit of
// descriptors is raised to the hard one, for this process and for what it
// starts from now on: Go would otherwise pass on the original, lower limit.
func (p Peer) Start(ctx context.Context, s Setup, dir string) (*Running, error) {
	r, err := p.start(ctx, s, dir, freeAddr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	return r, nil
}

func (p Peer) start(ctx context.Context, s Setup, dir string, choose func() (string, error)) (*Running, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if p.Binary == "" {
		return &Running{Name: p.Name, Addr: s.Servers[0], TLSAddr: s.Servers[0], peer: p}, nil
	}
	for try := 1; ; try++ {
		at, err := p.choose(s, choose)
		if err != nil {
			return nil, err
		}
		r, err := p.startOn(ctx, s, dir, at)
		if err == nil || try == startTries || ctx.Err() != nil || !taken(at.plain) && !taken(at.tls) {
			return r, err
		}
	}
}

// addresses are those on which a peer listens; they may be equal.
type addresses struct{ plain, tls string }

func (p Peer) choose(s Setup, choose func() (string, error)) (at addresses, err error) {
	if at.plain, err = choose(); err != nil {
		return at, err
	}
	if at.tls = at.plain; len(s.HTTP) == 0 || !p.apart {
		return at, nil
	}
	for at.tls == at.plain && err == nil {
		at.tls, err = choose()
	}
	return at, err
}

// Another starts a second instance of the peer, with the same setup and its own
// files.
func (r *Running) Another(ctx context.Context) (*Running, error) {
	return r.peer.Start(ctx, r.config.Setup, filepath.Dir(r.config.Dir))
}

func (p Peer) startOn(ctx context.Context, s Setup, dir string, at addresses) (*Running, error) {
	r, err := p.prepare(s, dir, at)
	if err != nil {
		return nil, err
	}
	if err := r.serve(ctx); err != nil {
		r.Stop()
		return nil, err
	}
	return r, nil
}

// prepare makes the peer's folder and everything in it.
func (p Peer) prepare(s Setup, dir string, at addresses) (r *Running, err error) {
	binary, err := p.look()
	if err != nil {
		return nil, err
	}
	limit, err := raiseLimit()
	if err != nil {
		return nil, fmt.Errorf("raise the limit of descriptors: %w", err)
	}
	home, err := makeHome(dir, p.Name)
	if err != nil {
		return nil, err
	}
	s.Workers = s.workers()
	c := config{
		Setup: s, Listen: at.plain, ListenTLS: at.tls, Dir: home, FDs: limit, User: userToBe(s), Packaged: binary == "/usr/sbin/"+p.Name,
	}
	r = &Running{Name: p.Name, Addr: at.plain, TLSAddr: at.tls, peer: p, config: c, binary: binary}
	if err = p.writeFiles(c); err == nil && len(s.HTTP) > 0 {
		err = writeIdentity(home)
	}
	if err == nil && s.Unprivileged && os.Geteuid() == 0 {
		err = r.becomeNobody(dir)
	}
	if err != nil {
		r.Stop()
	}
	return r, err
}

// makeHome makes a folder that other users can search, whatever the umask.
func makeHome(dir, name string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	home, err := os.MkdirTemp(dir, name+"-")
	if err != nil {
		return "", err
	}
	return home, os.Chmod(home, 0o755)
}

// userToBe returns the user for config.User: a program that is started as root
// must not change its user, because all peers must run as the same one.
func userToBe(s Setup) string {
	if os.Geteuid() == 0 && !s.Unprivileged {
		return "root"
	}
	return ""
}

// maxFDs limits the descriptors for which peers are configured: some allocate
// memory for every descriptor, and no load on one machine needs more.
const maxFDs = 1 << 17

// raiseLimit raises the soft limit of descriptors and returns how many a peer
// is configured for.
func raiseLimit() (int, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, err
	}
	l.Cur = l.Max
	return int(min(l.Max, maxFDs)), syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
}
