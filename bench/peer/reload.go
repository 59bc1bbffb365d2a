package peer

import (
	"context"
	"fmt"
)

// Reload makes the peer read its configuration again, without a gap and
// without cutting connections, and returns when the new configuration serves.
// It returns ErrNoReload if the peer does not support that.
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

// Restart makes the peer finish its connections and accept no more, and starts
// another process on the same address as soon as the old one does not listen any
// more. It returns when the new process serves; the old one stays until its
// connections have ended. The relay, Envoy, Traefik and sniproxy close theirs.
// It returns ErrNoProcess if nothing was started.
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
