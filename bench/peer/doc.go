// Package peer runs the proxies that are measured: it writes each one's
// configuration, starts it, finds its processes, reloads, restarts and stops
// it. It does no measuring and sends no traffic of its own.
//
// All of them serve the same name for the same servers on equal terms: as many
// workers, loops or threads, TCP keepalive on both sides, TCP_NODELAY, no
// access log, no health checks, the same timeouts, and the servers picked by a
// hash of the client's address. Where a proxy cannot do one of these, its file
// says so. nginx, HAProxy, sniproxy, culvert and the relay are run by the tests;
// the configurations of Envoy and Traefik are only compared with a text that
// was written from their documentation.
package peer
