// Package origin is the servers behind the proxies that are measured. They run
// in a separate process, so that their descriptors and garbage do not affect the
// clients. They use TLS only in workloads about TLS: the proxies never read past
// the hello, and the cost of TLS would hide that of the proxies.
//
// A client sends a hello and then 8 bytes that state what it wants (Order).
// Behind proxies that terminate TLS there is an HTTP server. Servers can be
// killed and revived, and some never work, for failover.
package origin
