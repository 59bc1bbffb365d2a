package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"culvert/cmd/internal/accesslog"
	"culvert/cmd/internal/config"
	"culvert/cmd/internal/service"
	"culvert/cmd/internal/spool"
	"culvert/cmd/internal/yaml"
	"culvert/l4/authority"
)

// The demo's names.
const (
	demoName = "chat.culvert.test" // .test exists nowhere (RFC 6761 section 6.2)
	demoPool = "chat"
)

func demoCommand() *cobra.Command {
	var address, adminAddress string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Try culvert on this machine: two chat servers and a balancer before them",
		Long: `demo starts two small TLS chat servers on loopback with certificates made for
the occasion, puts culvert before them, prints commands to try, and then one
line for each connection. It needs nothing but this program. The lines
"stop chat-1" and "start chat-1" on standard input stop and start a server.
Ctrl-C ends the demo, and nothing is left behind.`,
		Example: `  culvert demo
  culvert demo --address 127.0.0.1:8443`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(address, adminAddress, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&address, "address", "127.0.0.1:0", "where the balancer listens; port 0 takes a free one")
	cmd.Flags().StringVar(&adminAddress, "admin", "127.0.0.1:0", "where metrics and the status page are")
	return cmd
}

// runDemo serves until a signal.
func runDemo(address, adminAddress string, out io.Writer) error {
	if err := errors.Join(checkListen("--address", address), checkListen("--admin", adminAddress)); err != nil {
		return err
	}
	// In the background a terminal's lines are not ours: without SIGTTIN reading
	// them fails instead of stopping the demo (credentials(7)).
	signal.Ignore(syscall.SIGPIPE, syscall.SIGTTIN)
	signals := make(chan os.Signal, 1) // further signals change nothing: the end takes a moment
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	lines := spool.NewLines(out) // a stopped terminal must not keep the demo from ending
	defer closeLines(lines)
	d := &demo{out: lines}
	defer d.close()
	if err := d.start(address, adminAddress); err != nil {
		return err
	}
	d.serve(signals, os.Stdin)
	if n := lines.Dropped(); n > 0 {
		fmt.Fprintf(lines, "\n%d lines are missing above: the output was not read.\n", n)
	}
	fmt.Fprintln(lines, "\nThe demo ends.")
	return nil
}

// serve obeys the lines of in until a signal.
func (d *demo) serve(signals <-chan os.Signal, in io.Reader) {
	lines := readLines(in)
	for {
		select {
		case <-signals:
			return
		case line := <-lines:
			d.obey(line)
		}
	}
}

// checkListen refuses what is no "ip:port" or ":port", in terms of the flag.
func checkListen(flag, text string) error {
	host, _, err := net.SplitHostPort(text)
	if err == nil && host != "" {
		_, err = netip.ParseAddr(host)
	}
	if err != nil {
		return usageErrorf("%s %q: expected IP:PORT or :PORT", flag, text)
	}
	return nil
}

// demo is everything that a demo runs. close ends what start has begun, also
// when it failed half-way.
type demo struct {
	out     io.Writer // never waits
	dir     string    // temporary: the CA's certificate, the configuration, the control socket
	chats   []*chatServer
	service *service.Service
}

func (d *demo) start(address, adminAddress string) error {
	if err := d.startChats(); err != nil {
		return err
	}
	if err := d.configure(address, adminAddress); err != nil {
		return err
	}
	if err := d.serveBalancer(); err != nil {
		return err
	}
	d.announce()
	return nil
}

// startChats makes the certificates and starts both servers.
func (d *demo) startChats() error {
	ca, err := authority.New()
	if err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "culvert-demo-"); err != nil {
		return err
	}
	if err := os.WriteFile(d.caFile(), ca.PEM(), 0o644); err != nil {
		return err
	}
	bus := newChatBus()
	for _, name := range []string{"chat-1", "chat-2"} {
		cert, err := ca.CertificateOf(name, demoName, "localhost")
		if err != nil {
			return err
		}
		chat, err := startChat(name, *cert, bus)
		if err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		d.chats = append(d.chats, chat)
	}
	return nil
}

func (d *demo) caFile() string     { return filepath.Join(d.dir, "ca.pem") }
func (d *demo) configFile() string { return filepath.Join(d.dir, "culvert.yaml") }
func (d *demo) socketFile() string { return filepath.Join(d.dir, "admin.sock") }

// demoConfig is the demo's configuration file. localhost is there for
// browsers, which do not know demoName. At the end the chat servers have closed
// their connections, so the drain is short.
const demoConfig = `listeners:
  - address: %q
    name: demo
    routes:
      - server_name: %s
        pool: %s
      - server_name: localhost
        pool: %[3]s
    default: reject
pools:
  %[3]s:
    balance: client-address
    eject: off
    servers:
      - {name: %[4]s, address: %q}
      - {name: %s, address: %q}
admin: {address: %q, socket: %q}
drain_timeout: 1s
`

// configure writes the configuration file.
func (d *demo) configure(address, adminAddress string) error {
	a, b := d.chats[0], d.chats[1]
	var text bytes.Buffer
	fmt.Fprintf(&text, demoConfig, address, demoName, demoPool,
		a.name, a.address, b.name, b.address, adminAddress, d.socketFile())
	return os.WriteFile(d.configFile(), text.Bytes(), 0o644)
}

// serveBalancer runs the balancer as "culvert run" does, but for the access
// log, which is for people.
func (d *demo) serveBalancer() error {
	file, _, err := yaml.Load(d.configFile())
	if err != nil {
		return err
	}
	b := thisBuild()
	d.service, err = service.Start(file, service.Options{
		Log:     slog.New(slog.NewTextHandler(d.out, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Access:  accesslog.New(d.out, accesslog.Options{Format: formatConnection}),
		Load:    func() (*config.Config, error) { return nil, errDemo },
		Version: b.Version, Commit: b.Commit,
	})
	return err
}

var errDemo = errors.New("a demo stays as it is: only `culvert run` reloads and upgrades")

// address returns where the demo can be reached from this machine.
func (d *demo) address() netip.AddrPort {
	a := d.service.Addrs()[0].AddrPort()
	switch a.Addr() {
	case netip.IPv4Unspecified(), netip.IPv6Unspecified():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
	}
	return a
}

// close ends the servers first, so that no connection keeps the balancer.
func (d *demo) close() {
	for _, c := range d.chats {
		c.close()
	}
	if d.service != nil {
		_, _ = d.service.Drain(context.Background())
	}
	if d.dir != "" {
		if err := os.RemoveAll(d.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			fmt.Fprintln(d.out, "left behind:", err)
		}
	}
}
