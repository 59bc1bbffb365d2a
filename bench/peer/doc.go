// Package peer runs the proxies that are measured: it writes their
// configurations, starts them, finds their processes, reloads, restarts and
// stops them. It measures nothing and sends no traffic.
//
// All of them serve the same name for the same servers with the same settings:
// the same number of workers, loops or threads, TCP keepalive on both sides,
// TCP_NODELAY, no access log, no health checks, the same timeouts, and the
// servers picked by a hash of the client's address. Exceptions are documented in
// the file of each proxy. The tests run nginx, HAProxy, sniproxy, culvert and
// the relay; the configurations of Envoy and Traefik are only compared with a
// text that was written from their documentation.
package peer
