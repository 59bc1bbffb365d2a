package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"culvert/balancer"
	"culvert/cmd/internal/config"
	"culvert/cmd/internal/yaml"
	"culvert/l4"
	"culvert/sniff"
)

// A question is what explain is asked: which client, saying what, to where.
type question struct {
	sni      string   // as given
	alpn     []string // offered protocols
	client   string   // an address, with or without a port
	listener string   // name or address; empty: the first with routes
}

// OffersALPN makes a question an l4.Offer.
func (q *question) OffersALPN(protocol string) bool { return slices.Contains(q.alpn, protocol) }

// An explanation is explain's answer. Fields that do not apply are empty.
type explanation struct {
	Listener string      `json:"listener"`
	Client   string      `json:"client"`
	Name     string      `json:"name,omitempty"`  // normalised
	Route    string      `json:"route,omitempty"` // label
	Why      string      `json:"why"`
	Sees     string      `json:"client_sees,omitempty"` // when nothing is forwarded
	Pool     string      `json:"pool,omitempty"`
	Policy   string      `json:"policy,omitempty"`
	Server   *candidate  `json:"server,omitempty"`
	Failover []candidate `json:"failover,omitempty"` // after Server, in order
	AnyOf    []candidate `json:"any_of,omitempty"`   // when the policy has no order
	Tries    int         `json:"tries,omitempty"`    // servers tried at most
	Notes    []string    `json:"notes,omitempty"`
}

// A candidate is a server in an explanation.
type candidate struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Backup  bool   `json:"backup,omitempty"`
}

func explainCommand() *cobra.Command {
	var q question
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain FILE --client ADDR [--sni NAME] [--alpn P[,P]] [--listener NAME]",
		Short: "Say where a connection would go, and why",
		Long: `explain prints the route that a client's hello would take, the server that its
address leads to, and the servers that would be tried after it. It sends
nothing and resolves nothing. Every server counts as healthy and idle, except
those that the file says are down.`,
		Args:              oneFile,
		ValidArgsFunction: completeFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			return explain(cmd.OutOrStdout(), args[0], &q, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.sni, "sni", "", "server name in the hello (default none)")
	f.StringVar(&q.client, "client", "", "the client's IP address, or address and port")
	f.StringSliceVar(&q.alpn, "alpn", nil, "protocols that the hello offers, separated by commas")
	f.StringVar(&q.listener, "listener", "", "the listener's name or address (default the first with routes)")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	completeFlag(cmd, "listener", completeListener)
	if err := cmd.MarkFlagRequired("client"); err != nil {
		panic(err)
	}
	return cmd
}

// completeListener completes the names of the file's listeners.
func completeListener(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cfg, err := loadUnresolved(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, l := range cfg.Listeners {
		names = append(names, l.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func loadUnresolved(path string) (*l4.Config, error) {
	c, _, err := yaml.Load(path)
	if err != nil {
		return nil, err
	}
	return c.Unresolved()
}

func explain(out io.Writer, path string, q *question, asJSON bool) error {
	client, err := parseClient(q.client)
	if err != nil {
		return err
	}
	cfg, err := loadUnresolved(path)
	if err != nil {
		return err
	}
	e, err := answer(cfg, q, client)
	if err != nil {
		return err
	}
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(e)
	}
	return e.print(out)
}

// answer works out where the connection of q goes.
func answer(cfg *l4.Config, q *question, client netip.Addr) (*explanation, error) {
	l, err := findListener(cfg, q.listener)
	if err != nil {
		return nil, err
	}
	e := &explanation{Listener: l.Name, Client: client.String()}
	if l.Table == nil && l.Pool == nil {
		e.Why = "plain HTTP: every request is sent to the same address with https"
		return e, nil
	}
	if l.Table == nil {
		e.Why = "plain TCP: no hello is read"
		e.follow(l.Pool, client)
		return e, nil
	}
	if !e.readName(q.sni) {
		return e, nil
	}
	match := l.Table.Lookup([]byte(e.Name), q)
	e.Route, e.Why = match.Route.Label(), match.Why
	switch match.Route.Action {
	case l4.Reject:
		e.Sees = sees(sniff.AlertUnrecognizedName)
	case l4.Close:
		e.Sees = "the connection is closed without a word"
	case l4.Forward, l4.Handle:
		e.follow(match.Route.Pool, client)
	}
	if match.Route.Action == l4.Handle {
		e.note("TLS ends in culvert: each request goes this way by itself, if it is let in")
	}
	return e, nil
}

// readName does with the server name what the data plane does with that of a
// hello. It reports whether a hello with it would be routed.
func (e *explanation) readName(sni string) bool {
	switch {
	case sni == "":
		return true
	case sniff.IsIPLiteral(sni):
		e.note("an IP address in the hello counts as no name (RFC 6066 section 3)")
		return true
	}
	name, err := sniff.AppendName(nil, sni)
	if err != nil {
		e.Why = fmt.Sprintf("%q is not a host name: such a hello is rejected before routing", sni)
		if r := (*sniff.Reject)(nil); errors.As(err, &r) {
			e.Sees = sees(r.Alert)
		}
		return false
	}
	e.Name = string(name)
	return true
}

func sees(a sniff.Alert) string { return fmt.Sprintf("TLS alert %s (%d)", a, uint8(a)) }

// follow adds the servers of p in the order of this client.
func (e *explanation) follow(p *l4.Pool, client netip.Addr) {
	pool := p.Balancer
	e.Pool, e.Policy = pool.Name(), string(pool.Policy())
	order, fixed := pool.Order(client, 0)
	switch {
	case pool.MaxTries() == 0:
		e.Sees = "the connection is closed: every server is down"
	case !fixed:
		e.AnyOf = candidates(pool.Servers())
		e.note("%s gives a client no fixed order", pool.Policy())
	case len(order) > 0:
		all := candidates(order)
		e.Server, e.Failover = &all[0], all[1:]
	}
	if pool.Policy() == balancer.RoundRobin || pool.Policy() == balancer.LeastConnections {
		e.note("%s gives a client no fixed order: this is the first connection's of an idle pool", pool.Policy())
	}
	e.followTries(p)
	e.noteHosts(pool)
}

// followTries says how many of the servers a connection may try.
func (e *explanation) followTries(p *l4.Pool) {
	up := p.Balancer.MaxTries()
	e.Tries = up
	if n := p.MaxTries(); n > 0 {
		e.Tries = min(up, n)
	}
	if e.Tries >= up {
		return
	}
	e.note("a connection tries at most %d of the %d servers", e.Tries, up)
	e.Failover = e.Failover[:min(len(e.Failover), e.Tries-1)]
}

// noteHosts warns of servers whose address, and so whose place in the order,
// is not known before it is resolved.
func (e *explanation) noteHosts(pool *balancer.Pool) {
	for _, s := range pool.Servers() {
		if s.Down() || !config.IsHost(s.Address()) {
			continue
		}
		if s.Name() == s.Address() && pool.Policy() != balancer.NGINXHash {
			e.note("%s was not resolved: it will be known, and hashed, by its IP addresses, so the order may differ", s.Address())
			continue
		}
		e.note("%s was not resolved", s.Address())
	}
}

func (e *explanation) note(format string, args ...any) {
	e.Notes = append(e.Notes, fmt.Sprintf(format, args...))
}

func candidates(servers []*balancer.Server) []candidate {
	var all []candidate
	for _, s := range servers {
		if !s.Down() {
			all = append(all, candidate{s.Name(), s.Address(), s.Backup()})
		}
	}
	return all
}

// parseClient reads an IP address, with or without a port.
func parseClient(text string) (netip.Addr, error) {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone(""), nil
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, usageErrorf("--client %q: expected an IP address, with or without a port", text)
	}
	return ip.Unmap().WithZone(""), nil
}

// findListener returns the listener called name, or at that address; without
// a name the first that has routes, else the first.
func findListener(cfg *l4.Config, name string) (*l4.Listener, error) {
	var known []string
	for _, l := range cfg.Listeners {
		if name == "" && l.Table != nil || name != "" && (l.Name == name || l.Address.String() == name) {
			return l, nil
		}
		known = append(known, l.Name)
	}
	if name == "" && len(cfg.Listeners) > 0 {
		return cfg.Listeners[0], nil
	}
	return nil, usageErrorf("--listener %q: the file has %s", name, strings.Join(known, ", "))
}

// print writes e as aligned lines of a word and what it is.
func (e *explanation) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(word, text string) {
		if text != "" {
			fmt.Fprintf(w, "%s\t%s\n", word, text)
		}
	}
	line("listener", e.Listener)
	line("client", e.Client)
	if e.Route != "" {
		line("name", cmp.Or(e.Name, "none"))
	}
	line("route", e.because())
	line("result", e.Sees)
	if e.Pool != "" {
		line("pool", fmt.Sprintf("%s (%s)", e.Pool, e.Policy))
	}
	if e.Server != nil {
		line("server", e.Server.String())
		line("failover", cmp.Or(join(e.Failover), "none"))
	}
	line("any of", join(e.AnyOf))
	for _, note := range e.Notes {
		line("note", note)
	}
	return w.Flush()
}

// because returns the route and why it was taken.
func (e *explanation) because() string {
	if e.Route == "" {
		return "none: " + e.Why
	}
	return fmt.Sprintf("%s (%s)", e.Route, e.Why)
}

// String returns the server's identity, and its address if that differs.
func (c candidate) String() string {
	text := c.Name
	if c.Name != c.Address {
		text += " at " + c.Address
	}
	if c.Backup {
		text += " (backup)"
	}
	return text
}

func join(all []candidate) string {
	var texts []string
	for _, c := range all {
		texts = append(texts, c.String())
	}
	return strings.Join(texts, ", ")
}
