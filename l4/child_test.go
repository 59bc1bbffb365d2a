package l4

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// engineSpec is the engine that a process of its own runs, so that what is
// measured there is the engine's alone.
type engineSpec struct {
	Origin string
	Hello  bool   // route chat.example.com; else plain TCP
	FDs    uint64 // descriptors that the process may have; 0: no change
	Loops  int
}

// engineState is what such a process says of itself.
type engineState struct {
	Addr       string
	FDs        int
	Goroutines int
	Active     int64
	Accepted   uint64
	Paused     int64
	Pipes      int64
	CPU        time.Duration
	Memory     int64 // bytes, after a garbage collection
}

const engineEnv = "CULVERT_ENGINE_PROCESS"

// TestEngineProcess is the process that startProcess starts: it answers each
// line of its input with its state. "full N" leaves it only N descriptors
// first, "free" gives back what that took.
func TestEngineProcess(t *testing.T) {
	if os.Getenv(engineEnv) == "" {
		return // it is no test: other tests run it as a process of its own
	}
	var spec engineSpec
	if err := json.Unmarshal([]byte(os.Getenv(engineEnv)), &spec); err != nil {
		t.Fatal(err)
	}
	if spec.FDs > 0 {
		limitFDs(t, spec.FDs)
	}
	l := plainListener(roundRobin(t, spec.Origin))
	if spec.Hello {
		l = tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, spec.Origin)})
	}
	e, err := Start(&Config{Listeners: []*Listener{l}, Loops: spec.Loops}, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	smaps, err := os.Open("/proc/self/smaps_rollup") // before descriptors run out
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var all syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &all); err != nil {
		t.Fatal(err)
	}
	var fillers []int
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		command, arg, _ := strings.Cut(in.Text(), " ")
		switch command {
		case "full":
			leave, _ := strconv.Atoi(arg)
			fillers = fillFDs(t, countFDs(t, fds)+leave+32)
			for range leave {
				syscall.Close(fillers[len(fillers)-1])
				fillers = fillers[:len(fillers)-1]
			}
		case "free":
			limitFDs(t, all.Cur)
			for _, fd := range fillers {
				syscall.Close(fd)
			}
			fillers = nil
		}
		s := stateOf(t, e, smaps)
		s.FDs = countFDs(t, fds) - len(fillers)
		if err := out.Encode(s); err != nil {
			t.Fatal(err)
		}
	}
}

// fillFDs allows the process limit descriptors and uses up those it does not
// use yet.
func fillFDs(t *testing.T, limit int) (fillers []int) {
	limitFDs(t, uint64(limit))
	for {
		fd, err := syscall.Dup(0)
		if err != nil {
			return fillers
		}
		fillers = append(fillers, fd)
	}
}

func limitFDs(t *testing.T, n uint64) {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	lim.Cur = n
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
}

// countFDs counts without needing a descriptor.
func countFDs(t *testing.T, dir *os.File) int {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func stateOf(t *testing.T, e *Engine, smaps *os.File) engineState {
	debug.FreeOSMemory()
	debug.FreeOSMemory() // the first one only swept what the last cycle left
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	st := e.Stats()
	s := engineState{
		Addr: e.Addrs()[0].String(), Goroutines: runtime.NumGoroutine(),
		Active: st.Listeners[0].Active, Accepted: st.Listeners[0].Accepted, Paused: st.Paused, Pipes: st.Pipes,
		CPU: time.Duration(usage.Utime.Nano() + usage.Stime.Nano()),
	}
	b := make([]byte, 4096)
	n, err := smaps.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b[:n])) {
		var kb int64
		if _, err := fmt.Sscanf(line, "Pss: %d kB", &kb); err == nil {
			s.Memory = kb << 10
		}
	}
	return s
}

// engineProcess is an engine in a process of its own.
type engineProcess struct {
	t   *testing.T
	in  io.WriteCloser
	out *json.Decoder
}

// startProcess starts one; the test's end ends it.
func startProcess(t *testing.T, spec engineSpec) (*engineProcess, engineState) {
	t.Helper()
	env, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestEngineProcess$", "-test.timeout=300s")
	cmd.Env = append(os.Environ(), engineEnv+"="+string(env))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
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
	p := &engineProcess{t: t, in: in, out: json.NewDecoder(out)}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the engine's process: %v", err)
		}
	})
	return p, p.ask("")
}

// ask sends a command and returns the state after it.
func (p *engineProcess) ask(command string) engineState {
	p.t.Helper()
	var s engineState
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		p.t.Fatal(err)
	}
	if err := p.out.Decode(&s); err != nil {
		p.t.Fatal(err)
	}
	return s
}
