package peer

import (
	"context"
	"fmt"
)

// Reload makes the peer read its configuration again, without a gap and
// without cutting connections, and returns when the new configuration serves.
// It returns ErrNoReload where the peer cannot.
func (r *Running) Reload(ctx context.Context) error {
	if r.peer.reload == nil {
		return fmt.Errorf("%s: %w", r.Name, ErrNoReload)
	}
	r.change.Lock()
	defer r.change.Unlock()
	p, err := r.serving()
	if err == nil {
		err = r.peer.reload(ctx, r, p)
	}
	if err != nil {
		return fmt.Errorf("%s: reload: %w", r.Name, err)
	}
	return nil
}

// Restart asks the peer to finish the connections it has and to accept no
// more, and starts another one on the same address as soon as nobody listens
// there. It returns when that one serves; the old one stays until its
// connections have ended. The relay, Envoy, Traefik and sniproxy cut theirs.
// It returns ErrNoProcess where nothing was started.
func (r *Running) Restart(ctx context.Context) error {
	if r.peer.Binary == "" {
		return fmt.Errorf("%s: %w", r.Name, ErrNoProcess)
	}
	r.change.Lock()
	defer r.change.Unlock()
	if err := r.replace(ctx); err != nil {
		return fmt.Errorf("%s: restart: %w", r.Name, err)
	}
	return nil
}

func (r *Running) replace(ctx context.Context) error {
	old, err := r.serving()
	if err != nil {
		return err
	}
	old.signal(r.peer.quit)
	err = poll(ctx, nil, func() (bool, error) {
		inodes, err := listening(r.Addr)
		return len(inodes) == 0, err
	})
	if err != nil {
		return fmt.Errorf("the old process still listens: %w", err)
	}
	return r.serve(ctx)
}
