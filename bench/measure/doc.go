// Package measure reads what the kernel accounts: the processor time, memory
// and descriptors of other processes, the memory of the kernel itself, and
// what kind of machine it runs on. Everything is read from proc(5) and from
// the processes' clocks; nothing is started, changed or sampled in the
// background. All functions may be called concurrently.
//
// Another user's process can be read by root only, except for its processor
// time, which everybody may read.
package measure
