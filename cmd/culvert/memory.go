package main

import (
	"bufio"
	"bytes"
	"log/slog"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// memoryShare is how much of the cgroup's memory is for Go's heap: sockets and
// pipes are charged to the same limit.
const memoryShare = 0.75

// limitMemory tells Go's garbage collector how much memory the cgroup allows,
// unless GOMEMLIMIT does.
func limitMemory(log *slog.Logger) {
	limit := cgroupMemory(os.ReadFile)
	if limit == 0 || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(int64(float64(limit) * memoryShare))
	log.Info("the memory of the cgroup is limited", "bytes", limit)
}

// cgroupMemory returns the memory limit in bytes of this process's cgroup, the
// least of its own and those above it (cgroups(7)); 0 when there is none.
func cgroupMemory(read func(string) ([]byte, error)) int64 {
	groups, err := read("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := int64(math.MaxInt64)
	for lines := bufio.NewScanner(bytes.NewReader(groups)); lines.Scan(); {
		parts := strings.SplitN(lines.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		root, file := "", ""
		switch {
		case parts[0] == "0": // version 2
			root, file = "/sys/fs/cgroup", "memory.max"
		case strings.Contains(","+parts[1]+",", ",memory,"): // version 1
			root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container its own cgroup may be mounted as the root.
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			if text, err := read(path.Join(root, dir, file)); err == nil {
				least = min(least, limitIn(text))
			}
			if dir == "/" {
				break
			}
		}
	}
	if least >= 1<<60 { // version 1 writes no limit as a large number
		return 0
	}
	return least
}

func limitIn(text []byte) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil { // "max"
		return math.MaxInt64
	}
	return n
}
