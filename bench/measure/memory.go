package measure

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Memory returns the processes' proportional share of memory (PSS) in bytes:
// pages that several of them share count once.
func Memory(pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		m, err := readFields(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss")
		if err != nil {
			return 0, fmt.Errorf("process %d: memory: %w", pid, err)
		}
		sum += m["Pss"]
	}
	return sum, nil
}

// Slab returns the kernel's memory for its own objects in bytes: in total, and
// the unreclaimable part, which contains sockets. It is that of the whole
// machine: only a difference can be attributed to a process.
func Slab() (total, unreclaimable int64, err error) {
	m, err := readFields("/proc/meminfo", "Slab", "SUnreclaim")
	if err != nil {
		return 0, 0, fmt.Errorf("kernel memory: %w", err)
	}
	return m["Slab"], m["SUnreclaim"], nil
}

// FDs returns how many descriptors the processes have open.
func FDs(pids []int) (int, error) {
	sum := 0
	for _, pid := range pids {
		n, err := countEntries(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return 0, fmt.Errorf("process %d: descriptors: %w", pid, err)
		}
		sum += n
	}
	return sum, nil
}

// countEntries neither sorts nor stores the names, because a proxy at its limit
// has tens of thousands of descriptors.
func countEntries(dir string) (int, error) {
	d, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	for n := 0; ; {
		names, err := d.Readdirnames(512)
		n += len(names)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// readFields reads a file of lines like "Pss:   1234 kB" and returns the
// named fields in bytes. It fails if one is missing.
func readFields(path string, names ...string) (map[string]int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return scanFields(f, names)
}

func scanFields(r io.Reader, names []string) (map[string]int64, error) {
	found := make(map[string]int64, len(names))
	s := bufio.NewScanner(r)
	for s.Scan() {
		name, value, _ := strings.Cut(s.Text(), ":")
		for _, want := range names {
			if name != want {
				continue
			}
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			found[name] = kib << 10
		}
	}
	if len(found) < len(names) && s.Err() == nil {
		return nil, fmt.Errorf("fields %v are not all there", names)
	}
	return found, s.Err()
}
