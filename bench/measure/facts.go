package measure

import (
	"bytes"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Facts are the properties of a machine that affect measurements on it. Unknown
// ones are zero.
type Facts struct {
	CPU         string // model name of the processor
	Cores       int    // processors that this process may use
	MemoryMiB   int64
	Kernel      string // release
	Go          string // version that this program was built with
	FDs         uint64 // maximum of descriptors of one process (the hard limit)
	Root        bool
	SysResource bool   // the process has CAP_SYS_RESOURCE: pipe limits do not apply
	PipePages   int64  // fs.pipe-user-pages-soft: pages of pipes that a user without it gets
	Congestion  string // congestion control of TCP; one with pacing (bbr) makes bulk more expensive
	Ephemeral   string // ports that clients connect from, "32768 60999"
	Hypervisor  bool   // it is a virtual machine
	Mitigations string // mitigations= on the kernel's command line, "default" if it is absent
}

// capSysResource is the bit of CAP_SYS_RESOURCE, capabilities(7).
const capSysResource = 24

// ReadFacts reads the facts of the machine and of this process.
func ReadFacts() Facts {
	cpu := readText("/proc/cpuinfo")
	return Facts{
		CPU:         field(cpu, "model name"),
		Cores:       runtime.NumCPU(),
		MemoryMiB:   memoryMiB(),
		Kernel:      readText("/proc/sys/kernel/osrelease"),
		Go:          runtime.Version(),
		FDs:         descriptorLimit(),
		Root:        os.Geteuid() == 0,
		SysResource: hasCapability(readText("/proc/self/status"), capSysResource),
		PipePages:   number(readText("/proc/sys/fs/pipe-user-pages-soft")),
		Congestion:  readText("/proc/sys/net/ipv4/tcp_congestion_control"),
		Ephemeral:   strings.Join(strings.Fields(readText("/proc/sys/net/ipv4/ip_local_port_range")), " "),
		Hypervisor:  slices.Contains(strings.Fields(field(cpu, "flags")), "hypervisor"),
		Mitigations: mitigations(readText("/proc/cmdline")),
	}
}

func readText(path string) string {
	b, _ := os.ReadFile(path)
	return string(bytes.TrimSpace(b))
}

// field is the value of the first line "name : value".
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

func memoryMiB() int64 {
	m, err := readFields("/proc/meminfo", "MemTotal")
	if err != nil {
		return 0
	}
	return m["MemTotal"] >> 20
}

func descriptorLimit() uint64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return l.Max
}

// hasCapability checks the effective set in a /proc/PID/status.
func hasCapability(status string, bit uint) bool {
	set, err := strconv.ParseUint(field(status, "CapEff"), 16, 64)
	return err == nil && set>>bit&1 == 1
}

func mitigations(cmdline string) string {
	for _, arg := range strings.Fields(cmdline) {
		if v, ok := strings.CutPrefix(arg, "mitigations="); ok {
			return v
		}
	}
	return "default"
}
