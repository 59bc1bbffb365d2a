// Package origin is the servers behind the proxies that are measured. They run
// in a process of their own, so that their descriptors and their garbage are
// not the clients', and they speak no TLS but where a workload is about TLS:
// the proxies never look past the hello, and its cost would drown theirs.
//
// A client says a hello and then in 8 bytes what it wants (Order). Behind
// proxies that end TLS there is one that speaks HTTP. Servers can be killed and
// revived, and there are some that never work, for failover.
package origin
