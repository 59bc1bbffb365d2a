package main

import (
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
)

// tellManager tells the service manager, if there is one, what became of this
// process (sd_notify(3)).
func tellManager(log *slog.Logger, states ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(states, "\n")); err != nil {
		log.Warn("the service manager was not told", "state", states[0], "error", err)
	}
}
