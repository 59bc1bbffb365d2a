// Package bench measures what a proxy costs: culvert, nginx and HAProxy side
// by side on one machine, in turns, so that whatever else the machine does
// hits all of them alike. Costs are the proxies' processor time by the
// kernel's own accounting, per unit of work; ratios are taken round by round
// and only then summed up, because two figures of different minutes on a
// shared machine cannot be compared.
package bench
