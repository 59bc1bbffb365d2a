package peer

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// owner is the user that a process runs as.
func owner(t *testing.T, pid int) uint32 {
	t.Helper()
	info, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}
