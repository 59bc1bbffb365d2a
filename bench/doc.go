// Package bench measures what a proxy costs: culvert beside no proxy at all,
// nginx, HAProxy and others, on one machine, in turns (A B C, B C A, ...), so
// that whatever else the machine does hits all of them alike. Costs are the
// proxies' processor time by the kernel's own accounting, per unit of work;
// ratios are taken round by round and only then summed up, because two
// figures of different minutes on a shared machine cannot be compared.
//
// What is done is in the files named for it: connections, bulk, messages,
// idle, failover, reload, growth (which has unprivileged) and terminate list
// the workloads; run takes them in turn. Clients, servers, proxies, the
// kernel's figures, the schema and the report are packages below this one.
package bench
