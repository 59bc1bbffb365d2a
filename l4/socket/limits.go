package socket

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ProcessLimits is what the kernel lets this process use.
type ProcessLimits struct {
	FDs       int64 // open descriptors (RLIMIT_NOFILE, soft)
	PipeBytes int64 // bytes of all pipes of the user; 0: no limit
}

// Limits reads the limits of the process. Go raises the soft limit of
// descriptors to the hard one at start.
func Limits() ProcessLimits {
	var lim ProcessLimits
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) == nil {
		lim.FDs = int64(min(r.Cur, 1<<30))
	}
	if !ownsPipes() {
		lim.PipeBytes = int64(sysctl("/proc/sys/fs/pipe-user-pages-soft", 16384)) * int64(os.Getpagesize())
	}
	return lim
}

// ownsPipes reports whether fs.pipe-user-pages-soft does not apply: pipe(7)
// exempts CAP_SYS_RESOURCE and CAP_SYS_ADMIN.
func ownsPipes() bool {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if unix.Capget(&h, &d[0]) != nil {
		return false
	}
	return d[0].Effective&(1<<unix.CAP_SYS_RESOURCE|1<<unix.CAP_SYS_ADMIN) != 0
}

// sysctl returns the first number in a file of /proc/sys.
func sysctl(path string, def int) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return def
	}
	fields := strings.Fields(string(b))
	if len(fields) == 0 {
		return def
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		return def
	}
	return n
}
