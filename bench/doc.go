// Package bench measures the cost of a proxy: culvert compared with no proxy,
// nginx, HAProxy and others, on one machine, in rotation (A B C, B C A, ...), so
// that other load on the machine affects all of them equally. Costs are the
// proxies' processor time in the kernel's accounting, per unit of work. Ratios
// are computed for each round before they are summarised, because figures from
// different minutes on a shared machine cannot be compared.
//
// The workloads are in the files connections, bulk, messages, idle, failover,
// reload, growth (which has unprivileged) and terminate; run measures them one
// after the other. Clients, servers, proxies, the kernel's figures, the schema
// and the report are in packages below this one.
package bench
