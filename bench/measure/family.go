package measure

import (
	"os"
	"strconv"
	"strings"
)

// Family returns a process and all its descendants, the process first: nginx, for
// example, has a main process and workers. Descendants whose parent has ended
// are not found. The result is nil if the process does not run.
//
// It reads the parent of every process of the machine rather than
// /proc/PID/task/TID/children, which not every kernel has
// (CONFIG_PROC_CHILDREN).
func Family(pid int) []int {
	children := readChildren()
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err != nil {
		return nil
	}
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids
}

// readChildren lists the children of every process of the machine.
func readChildren() map[int][]int {
	children := make(map[int][]int)
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if b, err := os.ReadFile("/proc/" + name + "/stat"); err == nil {
			parent := parentOf(string(b))
			children[parent] = append(children[parent], pid)
		}
	}
	return children
}

// parentOf returns the fourth field of /proc/PID/stat, 0 if there is none. The
// second field is the program's name in parentheses, which may itself contain
// spaces and parentheses.
func parentOf(stat string) int {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}
