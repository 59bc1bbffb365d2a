package service

import (
	"fmt"

	"github.com/coreos/go-systemd/v22/daemon"

	"culvert/l4/socket"
)

// What a service manager is told (sd_notify(3)).
const (
	managerReady    = daemon.SdNotifyReady
	managerStopping = daemon.SdNotifyStopping
)

// managerReloading is what a manager expects before a reload: the state and the
// time.
func managerReloading() []string {
	return []string{daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", socket.Monotonic().Microseconds())}
}

// managerMain tells the manager that another process is the main one.
func managerMain(pid int) string { return fmt.Sprintf("MAINPID=%d", pid) }
