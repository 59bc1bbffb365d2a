package peer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
)

// firstPort is the lowest port of peers; the ports of the servers are below it.
const firstPort = 25000

// freeAddr returns a loopback address on which no process listens now. Its port
// is below the ephemeral ports, so that no connection uses it, and random, so
// that two runs seldom choose the same one.
func freeAddr() (string, error) {
	low, high := portRange(firstEphemeral())
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", low+rand.IntN(high-low))
		if !taken(addr) {
			return addr, nil
		}
	}
	return "", fmt.Errorf("no free port from %d to %d", low, high-1)
}

// portRange returns ports below the ephemeral ones, if there are enough of them.
func portRange(ephemeral int) (low, high int) {
	switch {
	case ephemeral >= firstPort+100:
		return firstPort, ephemeral
	case ephemeral >= 10100:
		return 10000, ephemeral
	}
	return firstPort, 32768
}

func firstEphemeral() int {
	low := 32768 // ip(7)
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(b), &low)
	}
	return low
}

// taken reports whether listening on the address fails.
func taken(addr string) bool {
	ln, err := net.Listen("tcp", addr)
	if err == nil {
		ln.Close()
	}
	return errors.Is(err, syscall.EADDRINUSE)
}

// listening returns the inodes of the sockets that listen on an IPv4 address.
func listening(addr string) (map[string]bool, error) {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return listeningIn(f, addr)
}

// listeningIn reads /proc/net/tcp, proc_net_tcp.rst of the kernel: the local
// address is the second column, in hexadecimal, the IP in the machine's byte
// order; the state is the fourth, 0A listening; the inode is the tenth.
// Listening sockets come first, so that connections need not be read.
func listeningIn(r io.Reader, addr string) (map[string]bool, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil || !ap.Addr().Is4() {
		return nil, fmt.Errorf("%s is not an IPv4 address and a port", addr)
	}
	ip := ap.Addr().As4()
	want := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), ap.Port())
	inodes := make(map[string]bool)
	s := bufio.NewScanner(r)
	s.Scan() // skip the headings
	for s.Scan() {
		f := strings.Fields(s.Text())
		if len(f) < 10 || f[3] != "0A" {
			break
		}
		if f[1] == want {
			inodes[f[9]] = true
		}
	}
	return inodes, s.Err()
}

// owns reports whether the process has one of the sockets open. It reads
// descriptors from the lowest, because listeners have low ones: it is fast for a
// process with a listener, however many connections the process has.
func owns(pid int, inodes map[string]bool) bool {
	if len(inodes) == 0 {
		return false
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(64)
		for _, name := range names {
			target, _ := os.Readlink(dir + "/" + name)
			inode, ok := strings.CutPrefix(strings.TrimSuffix(target, "]"), "socket:[")
			if ok && inodes[inode] {
				return true
			}
		}
		if err != nil {
			return false
		}
	}
}
