package main

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"text/template"
	"time"

	"culvert/balancer"
	"culvert/l4"
)

// announcement is what the demo prints when it is ready. Every command in it
// works as printed.
var announcement = template.Must(template.New("demo").Funcs(template.FuncMap{"sh": shellWord}).Parse(
	`Two chat servers are behind one address, and TLS reaches them sealed.

  balancer  {{.Address}}
  status    http://{{.Admin}}/
  CA        {{.CA}}
  config    {{.Config}}

Ask a server how it is:
  {{.Curl}} {{.URL}}/api/v4/system/ping
{{range .Clients}}
As another client, whose address leads to {{.Server}}:
  {{$.Curl}} --interface {{.IP}} {{$.URL}}/api/v4/system/ping
  {{$.Self}} explain {{sh $.Config}} --sni {{$.Name}} --client {{.IP}}
{{end}}
See the certificate that comes through:
  openssl s_client -connect {{.Address}} -servername {{.Name}} -CAfile {{sh .CA}} -verify_return_error </dev/null

Listen to the chat over a WebSocket (Ctrl-C leaves it):
  {{.Curl}} --http1.1 -N -i -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: Y3VsdmVydCBkZW1vIGtleQ==' {{.URL}}/api/v4/websocket --output -

See a server fail: type here, and press Enter,
  stop {{.Usual}}
and ask again as above. The other server answers, and the connection's line
says why. To have it back:
  start {{.Usual}}

See what each server does; with "drain {{.Usual}}" for "status" take one out of service:
  {{.Self}} status --socket {{sh .Socket}}

Chat in a browser (it will warn of the certificate). All browsers on this
machine are one client address, and so get one server:
  https://localhost:{{.Address.Port}}/

See a name without a route get a TLS alert:
  curl --resolve nobody.culvert.test:{{.Address.Port}}:{{.IP}} https://nobody.culvert.test:{{.Address.Port}}/

Ctrl-C ends the demo. Connections:
`))

// demoView is what the announcement shows.
type demoView struct {
	Address netip.AddrPort
	IP      string // of Address, as curl's --resolve takes it
	Admin   string
	Name    string
	CA      string
	Config  string
	Socket  string
	Self    string // this program, as a shell calls it
	Usual   string // the server of clients that choose no address
	Curl    string // with everything but the URL
	URL     string // without a path
	Clients []demoClient
}

// demoClient is an address of this machine and the server it leads to.
type demoClient struct {
	IP     netip.Addr
	Server string
}

func (d *demo) view() demoView {
	a, pool := d.address(), d.service.Pools()[0]
	ip := a.Addr().String()
	if a.Addr().Is6() {
		ip = "[" + ip + "]"
	}
	v := demoView{
		Address: a,
		IP:      ip,
		Admin:   d.service.AdminAddr().String(),
		Name:    demoName,
		CA:      d.caFile(),
		Config:  d.configFile(),
		Socket:  d.socketFile(),
		Self:    callAgain(os.Args[0]),
		Usual:   firstServer(pool, a.Addr()),
		Curl:    fmt.Sprintf("curl --cacert %s --resolve %s:%d:%s", shellWord(d.caFile()), demoName, a.Port(), ip),
		URL:     fmt.Sprintf("https://%s:%d", demoName, a.Port()),
	}
	v.Clients = otherClients(pool, a.Addr())
	return v
}

// otherClients finds addresses of this machine, of which 127.0.0.0/8 all are,
// whose connections go to other servers than those that come from the
// address they go to, which is what a local client's do.
func otherClients(p *balancer.Pool, usual netip.Addr) []demoClient {
	if !usual.Is4() || !usual.IsLoopback() {
		return nil
	}
	seen := map[string]bool{firstServer(p, usual): true}
	var list []demoClient
	for i := byte(1); i < 255 && len(seen) < len(p.Servers()); i++ {
		ip := netip.AddrFrom4([4]byte{127, 0, 0, i})
		if name := firstServer(p, ip); !seen[name] {
			seen[name] = true
			list = append(list, demoClient{ip, name})
		}
	}
	return list
}

// firstServer names the server that a client is sent to.
func firstServer(p *balancer.Pool, client netip.Addr) string {
	order, _ := p.Order(client, 0)
	if len(order) == 0 {
		return ""
	}
	return order[0].Name()
}

// announce prints in one write, so that no connection's line comes between.
func (d *demo) announce() {
	var text bytes.Buffer
	if err := announcement.Execute(&text, d.view()); err != nil {
		panic(err) // the template and its view are both ours
	}
	_, _ = d.out.Write(text.Bytes())
}

// formatConnection appends the account of a connection as a line for people.
func formatConnection(b *bytes.Buffer, r *l4.Record) {
	end := r.Start.Add(r.Total)
	fmt.Fprintf(b, "%s  %s  %s", end.Format("15:04:05.000"), addressText(r.Client), nameText(r))
	for _, t := range r.Tries {
		fmt.Fprintf(b, "  (%s: %s)", t.Server, t.Reason)
	}
	if r.Connect >= 0 {
		fmt.Fprintf(b, "  %s  up %d B, down %d B", r.Server, r.BytesUp, r.BytesDown)
	}
	fmt.Fprintf(b, "  %v  %s by %s\n", r.Total.Round(100*time.Microsecond), r.Reason, r.EndedBy)
}

// addressText writes a client's address.
func addressText(a netip.AddrPort) string {
	if !a.IsValid() {
		return "unix"
	}
	return a.String()
}

// nameText is the name that the client asked for, harmless to a terminal.
func nameText(r *l4.Record) string {
	return cmp.Or(printable(r.ServerName), "(no name)")
}
