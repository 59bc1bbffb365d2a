package measure

import (
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"
)

// cpuClockSched selects the scheduler's account in a process's clock
// (CPUCLOCK_SCHED, include/linux/posix-timers_types.h).
const cpuClockSched = 2

// Usage is the processor time of processes so far, by process.
type Usage map[int]time.Duration

// ReadUsage reads the processor time of each process. If some have ended it
// returns the times of the others together with an error.
func ReadUsage(pids []int) (Usage, error) {
	var errs error
	u := make(Usage, len(pids))
	for _, pid := range pids {
		t, err := processTime(pid)
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		u[pid] = t
	}
	return u, errs
}

// Since returns the time used since before was read. A process that is new
// counts with all it has used. A process that has ended since counts with
// nothing, so the result is then too small, but never negative.
func (u Usage) Since(before Usage) time.Duration {
	var sum time.Duration
	for pid, t := range u {
		if d := t - before[pid]; d > 0 {
			sum += d
		}
	}
	return sum
}

// processTime is the clock of a process, clock_getcpuclockid(3): the sum over
// its threads of what the first field of /proc/PID/task/TID/schedstat shows
// (sum_exec_runtime, in nanoseconds), and of the threads that have ended,
// whose schedstat is gone. Adding up the files would lose those and could run
// backwards. The times of /proc/PID/stat have a resolution of 10 ms, too coarse.
func processTime(pid int) (time.Duration, error) {
	if pid <= 0 { // 0 would be the caller's own clock
		return 0, fmt.Errorf("process %d: no such process", pid)
	}
	var t syscall.Timespec
	clock := int32(^uint32(pid)<<3 | cpuClockSched) // MAKE_PROCESS_CPUCLOCK
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&t)), 0)
	if errno == syscall.EINVAL { // no such process
		errno = syscall.ESRCH
	}
	if errno != 0 {
		return 0, fmt.Errorf("process %d: processor time: %w", pid, errno)
	}
	return time.Duration(t.Nano()), nil
}
