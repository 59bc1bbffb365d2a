package measure

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary run as a process that works on request.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		worker()
		return
	}
	os.Exit(m.Run())
}

// worker uses 30 ms of processor time on a new thread for every line it reads,
// ends the thread, and answers.
func worker() {
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		task := "/proc/self/task/" + strconv.Itoa(<-burnOnce())
		for _, err := os.Stat(task); err == nil; _, err = os.Stat(task) {
			runtime.Gosched()
		}
		fmt.Println("done")
	}
}

// burnOnce works on a thread that ends afterwards, and returns the thread's ID.
// The first thread of a process never ends, so a goroutine on that thread starts
// another one for the work.
func burnOnce() <-chan int {
	tid := make(chan int, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine, unless unlocked
		if syscall.Gettid() == os.Getpid() {
			tid <- <-burnOnce()
			runtime.UnlockOSThread()
			return
		}
		burn(30 * time.Millisecond)
		tid <- syscall.Gettid()
	}()
	return tid
}

// burn uses a processor for the given time, by the thread's own clock.
func burn(d time.Duration) {
	const threadClock = 3 // CLOCK_THREAD_CPUTIME_ID
	x := 0.0
	for begun := threadTime(threadClock); threadTime(threadClock)-begun < d; {
		for i := range 1000 {
			x += math.Sqrt(float64(i))
		}
	}
	runtime.KeepAlive(x)
}

// startWorker returns a worker and a function that makes it work once.
func startWorker(t *testing.T) (pid int, work func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "worker")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	work = func() {
		t.Helper()
		_, _ = io.WriteString(in, "work\n")
		if !lines.Scan() {
			t.Fatal("the worker has ended")
		}
	}
	work()
	return cmd.Process.Pid, work
}

func TestThreadsThatEndedStayCounted(t *testing.T) {
	pid, work := startWorker(t)
	before, err := cpu([]int{pid})
	if err != nil {
		t.Fatal(err)
	}
	const times = 3
	for range times {
		work()
	}
	after, err := cpu([]int{pid})
	if err != nil {
		t.Fatal(err)
	}
	if used := after - before; used < times*30*time.Millisecond || used > times*60*time.Millisecond {
		t.Errorf("used %v, want %v or little more", used, times*30*time.Millisecond)
	}
}

func TestProcessTimeIsTheSumOfSchedstat(t *testing.T) {
	pid := os.Getpid() // its threads do not end
	before := schedstat(t, pid)
	got, err := cpu([]int{pid})
	if err != nil {
		t.Fatal(err)
	}
	after := schedstat(t, pid)
	const tick = 10 * time.Millisecond // the time of running threads is updated at every tick
	if got < before-tick || got > after+tick {
		t.Errorf("got %v, schedstat has from %v to %v", got, before, after)
	}
}

func schedstat(t *testing.T, pid int) time.Duration {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	var sum time.Duration
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(n)
	}
	return sum
}

// ended returns the ID of a process that has ended.
func ended(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestEndedProcessIsAnError(t *testing.T) {
	gone, self := ended(t), os.Getpid()
	if _, err := cpu([]int{self, gone}); !errors.Is(err, syscall.ESRCH) || !strings.Contains(err.Error(), strconv.Itoa(gone)) {
		t.Errorf("processor time: %v, want ESRCH and process %d", err, gone)
	}
	if _, err := Memory([]int{self, gone}); err == nil {
		t.Error("it has memory")
	}
	if _, err := FDs([]int{self, gone}); err == nil {
		t.Error("it has descriptors")
	}
	for _, pid := range []int{0, -1} {
		if n, err := cpu([]int{pid}); err == nil {
			t.Errorf("process %d has used %v", pid, n)
		}
	}
	u, err := ReadUsage([]int{self, gone})
	if err == nil || len(u) != 1 || u[self] <= 0 {
		t.Errorf("usage %v, %v, want this process's and an error", u, err)
	}
}

func TestUsageSince(t *testing.T) {
	tests := []struct {
		name          string
		before, after Usage
		want          time.Duration
	}{
		{"nothing", nil, nil, 0},
		{"the same processes", Usage{1: 10, 2: 20}, Usage{1: 15, 2: 27}, 12},
		{"one is new", Usage{1: 10}, Usage{1: 15, 2: 7}, 12},
		{"one has ended", Usage{1: 10, 2: 20}, Usage{1: 15}, 5},
		{"a number was given again", Usage{1: 10, 2: 20}, Usage{1: 15, 2: 3}, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.after.Since(tt.before); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// cpu returns the total time used by processes.
func cpu(pids []int) (all time.Duration, err error) {
	u, err := ReadUsage(pids)
	for _, t := range u {
		all += t
	}
	return all, err
}
