package measure

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// threadTime reads a clock of this thread.
func threadTime(clock uintptr) time.Duration {
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic(errno)
	}
	return time.Duration(ts.Nano())
}

func TestMemoryGrowsByWhatIsTouched(t *testing.T) {
	pids := []int{os.Getpid()}
	before, err := Memory(pids)
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	b, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Munmap(b) }()
	for i := 0; i < size; i += 4096 {
		b[i] = 1
	}
	after, err := Memory(pids)
	if grown := after - before; err != nil || grown < size*9/10 || grown > size*13/10 {
		t.Errorf("grown by %d, %v, want about %d", grown, err, size)
	}
}

func TestFDsCountsDescriptors(t *testing.T) {
	pids := []int{os.Getpid()}
	before, err := FDs(pids)
	if err != nil {
		t.Fatal(err)
	}
	const n = 600 // more entries than one read of the folder returns
	for range n / 2 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
	}
	if after, err := FDs(pids); err != nil || after != before+n {
		t.Errorf("from %d to %d, %v, want %d more", before, after, err, n)
	}
}

func TestSlab(t *testing.T) {
	total, unreclaimable, err := Slab()
	if err != nil || unreclaimable <= 1<<20 || total < unreclaimable {
		t.Errorf("got %d and of it %d, %v", total, unreclaimable, err)
	}
}

func TestScanFields(t *testing.T) {
	const text = "Slab:   100 kB\nSlabs: 7 kB\nOdd: many kB\n"
	tests := []struct {
		name, field string
		want        int64
		ok          bool
	}{
		{"there", "Slab", 100 << 10, true},
		{"missing", "Pss", 0, false},
		{"not a number", "Odd", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := scanFields(strings.NewReader(text), []string{tt.field})
			if (err == nil) != tt.ok || got[tt.field] != tt.want {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestFamilyIncludesGrandchildren(t *testing.T) {
	cmd := exec.Command("sh", "-c", `sh -c 'sleep 60 & echo $!; wait' & wait`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	grandchild, _ := strconv.Atoi(strings.TrimSpace(line))
	pids := Family(cmd.Process.Pid)
	if len(pids) != 3 || pids[0] != cmd.Process.Pid || !slices.Contains(pids, grandchild) {
		t.Errorf("got %v, want %d first, and %d", pids, cmd.Process.Pid, grandchild)
	}
	if got := Family(ended(t)); got != nil {
		t.Errorf("got %v for a process that has ended", got)
	}
}

func TestParentOf(t *testing.T) {
	tests := []struct {
		name, stat string
		want       int
	}{
		{"plain", "7 (sh) S 5 7 7 0", 5},
		{"a name like fields", "7 (a) R 1 (b) S 5 7 7 0", 5},
		{"cut off", "7 (sh) S", 0},
		{"empty", "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := parentOf(tt.stat); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestMachineIsBusyWhileThisIs(t *testing.T) {
	before, err := Machine()
	if err != nil {
		t.Fatal(err)
	}
	burn(100 * time.Millisecond)
	after, err := Machine()
	if used := after.Sub(before); err != nil || used.Busy < 50*time.Millisecond {
		t.Errorf("used %+v, %v, want at least the time of this test", used, err)
	}
}

func TestParseMachine(t *testing.T) {
	tests := []struct {
		name, in string
		want     MachineTime
		ok       bool
	}{
		{"guests count once", "cpu  1 2 4 8 16 32 64 128 256 512\ncpu0 9\n", MachineTime{Busy: 1030 * time.Millisecond, Idle: 240 * time.Millisecond, Stolen: 1280 * time.Millisecond}, true},
		{"another line", "intr 1 2 3 4 5 6 7 8 9\n", MachineTime{}, false},
		{"too few", "cpu 1 2 3\n", MachineTime{}, false},
		{"not numbers", "cpu a b c d e f g h i j\n", MachineTime{}, false},
		{"empty", "", MachineTime{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseMachine(tt.in)
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestFactsAreOfThisMachine(t *testing.T) {
	f := ReadFacts()
	release, err := exec.Command("uname", "-r").Output()
	if err != nil {
		t.Fatal(err)
	}
	if f.Kernel != strings.TrimSpace(string(release)) || f.Go != runtime.Version() || f.Root != (os.Geteuid() == 0) {
		t.Errorf("got %+v", f)
	}
	if f.CPU == "" && runtime.GOARCH == "amd64" || f.Cores < 1 || f.MemoryMiB < 64 || f.FDs < 64 || f.Mitigations == "" {
		t.Errorf("got %+v", f)
	}
	var low, high int
	if n, _ := fmt.Sscan(f.Ephemeral, &low, &high); n != 2 || low >= high {
		t.Errorf("ephemeral ports %q", f.Ephemeral)
	}
}

func TestHasCapability(t *testing.T) {
	tests := []struct {
		name, status string
		want         bool
	}{
		{"all", "CapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n", true},
		{"all but this", "CapEff:\t000001fffeffffff\n", false},
		{"only permitted", "CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000000\n", false},
		{"unknown", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := hasCapability(tt.status, capSysResource); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestMitigations(t *testing.T) {
	tests := []struct{ name, cmdline, want string }{
		{"present", "quiet mitigations=off rw", "off"},
		{"with a list", "mitigations=auto,nosmt", "auto,nosmt"},
		{"absent", "quiet nomitigations", "default"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := mitigations(tt.cmdline); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
