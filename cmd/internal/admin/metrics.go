package admin

import (
	"runtime"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"culvert/balancer"
	"culvert/l4"
)

// NewRegistry returns a registry with the metrics of src, the Go runtime and
// the process.
func NewRegistry(src Source) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		&collector{src},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return reg
}

// metric is one metric family. Its labels come from closed sets (names in the
// configuration, l4.Reason, l4.Party and direction), never from a peer.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) *metric {
	return &metric{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) *metric {
	return &metric{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue}
}

// The metrics, grouped by subject.
var (
	connections = counter("culvert_connections_total",
		"Connections accepted.", "listener")
	connectionsActive = gauge("culvert_connections_active",
		"Connections open now.", "listener")
	connectionsEnded = counter("culvert_connections_ended_total",
		"Connections that ended, by the side that ended them and the reason.", "listener", "ended_by", "reason")
	rejects = counter("culvert_rejects_total",
		"Connections rejected: they ended before a server answered.", "listener", "reason")
	routeConnections = counter("culvert_route_connections_total",
		"Connections that matched a route.", "listener", "route", "pool")

	serverConnections = counter("culvert_server_connections_total",
		"Connections established to a server.", "pool", "server")
	serverActive = gauge("culvert_server_connections_active",
		"Connections being dialed or relayed to a server now.", "pool", "server")
	serverBytes = counter("culvert_server_bytes_total",
		"Bytes relayed, up to a server or down from it.", "pool", "server", "direction")
	attemptsFailed = counter("culvert_attempts_failed_total",
		"Attempts to connect to a server that failed.", "pool", "server", "reason")
	failovers = counter("culvert_failovers_total",
		"Failed attempts after which another server was tried.", "pool", "server")

	serverUp = gauge("culvert_server_up",
		"1 while a server is in service: no cause keeps it from getting new connections.", "pool", "server")
	serverOut = gauge("culvert_server_out",
		"1 for each cause that keeps a server out of service.", "pool", "server", "cause")
	serverChanges = counter("culvert_server_changes_total",
		"Servers that went up or down, were ejected or readmitted.", "pool", "server", "event")
	poolPanics = gauge("culvert_pool_panics",
		"1 while so few servers are in service that all are used.", "pool")
	checks = counter("culvert_checks_total",
		"Health checks of a server, by result.", "pool", "server", "result")
	checkSeconds = gauge("culvert_check_seconds",
		"How long the last health check of a server took.", "pool", "server")
	certificateExpiry = gauge("culvert_server_certificate_expiry_timestamp_seconds",
		"Expiry of the certificate that a server presented in its last health check.", "pool", "server")
	certificateProblem = gauge("culvert_server_certificate_problem",
		"1 if that certificate has expired, is for another name, or is from an unknown authority.", "pool", "server")

	requests = counter("culvert_requests_total",
		"Requests on routes that terminate TLS, by the status of the answer; 0 means no answer.", "listener", "route", "status")
	requestsRefused = counter("culvert_requests_refused_total",
		"Requests on these routes that were refused without contacting a server.", "listener", "route", "reason")
	preauthAccepted = counter("culvert_preauth_accepted_total",
		"Requests accepted because of a pre-auth secret.", "listener", "route", "secret")
	routeCertificate = gauge("culvert_certificate_expiry_timestamp_seconds",
		"Earliest expiry of the certificates of a route that terminates TLS.", "listener", "route")

	connectionsLimit = gauge("culvert_connections_limit",
		"Maximum of concurrent connections of the process.")
	bufferedBytes = gauge("culvert_buffered_bytes",
		"Bytes buffered in user space for peers that read slowly and for incomplete hellos.")
	pipes = gauge("culvert_pipes",
		"Pipes open for splicing, in use or pooled.")
	listenersPaused = gauge("culvert_listeners_paused",
		"Listeners that do not accept now because of a limit or a lack of descriptors.")
	logDropped = counter("culvert_access_log_dropped_total",
		"Access log records that were not written.")
	buildInfo = gauge("culvert_build_info",
		"Always 1; the labels have the version.", "version", "commit", "goversion")
)

var metrics = []*metric{
	connections, connectionsActive, connectionsEnded, rejects, routeConnections,
	serverConnections, serverActive, serverBytes, attemptsFailed, failovers,
	serverUp, serverOut, serverChanges, poolPanics, checks, checkSeconds, certificateExpiry, certificateProblem,
	requests, requestsRefused, preauthAccepted, routeCertificate,
	connectionsLimit, bufferedBytes, pipes, listenersPaused, logDropped, buildInfo,
}

// collector turns one l4.Stats into samples at each scrape.
type collector struct{ src Source }

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	var s samples
	stats := c.src.Stats()
	for i := range stats.Listeners {
		s.listener(&stats.Listeners[i])
	}
	for _, r := range stats.Routes {
		s.add(routeConnections, float64(r.Taken), r.Listener, r.Route, r.Pool)
	}
	for i := range stats.Servers {
		s.server(&stats.Servers[i])
	}
	s.pools(stats.Servers)
	if c.src.Health != nil {
		s.health(c.src.Health())
	}
	if c.src.Requests != nil {
		s.requests(c.src.Requests())
	}
	s.add(connectionsLimit, float64(stats.MaxConnections))
	s.add(bufferedBytes, float64(stats.BufferedBytes))
	s.add(pipes, float64(stats.Pipes))
	s.add(listenersPaused, float64(stats.Paused))
	if c.src.Dropped != nil {
		s.add(logDropped, float64(c.src.Dropped()))
	}
	s.add(buildInfo, 1, c.src.Version, c.src.Commit, runtime.Version())
	s.send(ch)
}

// samples are the values of one scrape. Values with the same labels are added
// up, because two routes of a listener may have the same label and the registry
// would refuse the whole scrape.
type samples struct {
	byKey map[string]int
	list  []sample
}

type sample struct {
	metric *metric
	labels []string
	value  float64
}

func (s *samples) add(m *metric, value float64, labels ...string) {
	if s.byKey == nil {
		s.byKey = map[string]int{}
	}
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "\ufffd") // invalid UTF-8 fails the scrape
	}
	key := m.desc.String() + "\xff" + strings.Join(labels, "\xff")
	if i, ok := s.byKey[key]; ok {
		s.list[i].value += value
		return
	}
	s.byKey[key] = len(s.list)
	s.list = append(s.list, sample{m, labels, value})
}

func (s *samples) listener(l *l4.ListenerStats) {
	s.add(connections, float64(l.Accepted), l.Name)
	s.add(connectionsActive, float64(l.Active), l.Name)
	for how, n := range l.Ended {
		s.add(connectionsEnded, float64(n), l.Name, how.By.String(), string(how.Reason))
		if !how.Reason.Relayed() {
			s.add(rejects, float64(n), l.Name, string(how.Reason))
		}
	}
}

func (s *samples) server(v *l4.ServerStats) {
	pool, server := v.Pool, v.Server.Name()
	s.add(serverConnections, float64(v.Connections), pool, server)
	s.add(serverActive, float64(v.Active), pool, server)
	s.add(serverBytes, float64(v.BytesUp), pool, server, "up")
	s.add(serverBytes, float64(v.BytesDown), pool, server, "down")
	s.add(failovers, float64(v.Failovers), pool, server)
	for reason, n := range v.Failures {
		s.add(attemptsFailed, float64(n), pool, server, string(reason))
	}
}

// pools adds which servers are in service, and which pools are in panic.
func (s *samples) pools(servers []l4.ServerStats) {
	seen := map[*balancer.Pool]bool{}
	for _, v := range servers {
		causes := v.Server.Causes()
		s.add(serverUp, truth(causes == 0), v.Pool, v.Server.Name())
		for _, c := range balancer.Causes() {
			s.add(serverOut, truth(causes&c != 0), v.Pool, v.Server.Name(), c.String())
		}
		if p := v.Server.Pool(); !seen[p] {
			seen[p] = true
			s.add(poolPanics, truth(p.Panics()), v.Pool)
		}
	}
}

func (s *samples) health(h *Health) {
	for _, c := range h.Checks {
		pool, server := c.Server.Pool().Name(), c.Server.Name()
		s.add(checks, float64(c.Passed), pool, server, "passed")
		s.add(checks, float64(c.Failed), pool, server, "failed")
		if !c.Last.At.IsZero() {
			s.add(checkSeconds, c.Last.Took.Seconds(), pool, server)
		}
		if cert := c.Last.Certificate; cert != nil {
			s.add(certificateExpiry, float64(cert.NotAfter.Unix()), pool, server)
			s.add(certificateProblem, truth(cert.Problem != nil), pool, server)
		}
	}
	for c, n := range h.Changes {
		s.add(serverChanges, float64(n), c.Pool, c.Server, c.Event)
	}
}

func (s *samples) requests(r *Requests) {
	for a, n := range r.Answered {
		s.add(requests, float64(n), a.Listener, a.Route, strconv.Itoa(a.Status))
	}
	for d, n := range r.Refused {
		s.add(requestsRefused, float64(n), d.Listener, d.Route, d.Reason)
	}
	for x, n := range r.Secrets {
		s.add(preauthAccepted, float64(n), x.Listener, x.Route, x.Label)
	}
	for at, when := range r.Expires {
		s.add(routeCertificate, float64(when.Unix()), at.Listener, at.Route)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (s *samples) send(ch chan<- prometheus.Metric) {
	for _, v := range s.list {
		ch <- prometheus.MustNewConstMetric(v.metric.desc, v.metric.kind, v.value, v.labels...)
	}
}
