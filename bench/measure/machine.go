package measure

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// userHz is the unit of the times in /proc/stat. The kernel converts to it
// for user space whatever its own is (proc(5), USER_HZ).
const userHz = 100

// MachineTime is the time of all processors together since the machine started,
// with a resolution of 10 ms.
type MachineTime struct {
	Busy   time.Duration // in processes, the kernel and interrupts
	Idle   time.Duration // waiting for work or for a disk
	Stolen time.Duration // used by the hypervisor for other machines; much of it makes a measurement unreliable
}

// Machine reads the machine's times.
func Machine() (MachineTime, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return MachineTime{}, err
	}
	return parseMachine(string(b))
}

// Sub returns the time since earlier.
func (t MachineTime) Sub(earlier MachineTime) MachineTime {
	return MachineTime{Busy: t.Busy - earlier.Busy, Idle: t.Idle - earlier.Idle, Stolen: t.Stolen - earlier.Stolen}
}

// parseMachine reads the line of all processors: user nice system idle iowait
// irq softirq steal guest guest_nice. The last two are in user and nice
// already.
func parseMachine(stat string) (MachineTime, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return MachineTime{}, fmt.Errorf("/proc/stat begins with %q, expected the times of all processors", line)
	}
	var v [8]time.Duration
	for i := range v {
		n, err := strconv.ParseInt(fields[i+1], 10, 64)
		if err != nil {
			return MachineTime{}, fmt.Errorf("/proc/stat: %w", err)
		}
		v[i] = time.Duration(n) * (time.Second / userHz)
	}
	return MachineTime{Busy: v[0] + v[1] + v[2] + v[5] + v[6], Idle: v[3] + v[4], Stolen: v[7]}, nil
}
