package main

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"culvert/l4/socket"
)

// tellManager tells the service manager, if there is one, what became of this
// process (sd_notify(3)).
func tellManager(log *slog.Logger, states ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(states, "\n")); err != nil {
		log.Warn("the service manager was not told", "state", states[0], "error", err)
	}
}

// reloadingSince is what a manager expects before a reload, with the time.
func reloadingSince() []string {
	return []string{daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", socket.Monotonic().Microseconds())}
}

// activated returns the listening sockets that a service manager has opened
// for this process (sd_listen_fds(3)), by address. They are the caller's.
func activated() (map[string][]int, error) {
	sockets := map[string][]int{}
	for _, f := range activation.Files(true) {
		fd, err := socket.Duplicate(int(f.Fd())) // f closes its own when it is garbage
		if err != nil {
			return nil, fmt.Errorf("socket activation: %w", err)
		}
		at, err := socket.Listening(fd)
		if err != nil {
			return nil, fmt.Errorf("socket activation: %w", err)
		}
		sockets[at.String()] = append(sockets[at.String()], fd)
	}
	return sockets, nil
}
