// Package measure reads the kernel's accounting: the processor time, memory and
// descriptors of other processes, the memory of the kernel itself, and facts
// about the machine. Everything is read from proc(5) and from the processes'
// clocks; nothing is started, changed or sampled in the background. All
// functions may be called concurrently.
//
// Only root can read another user's process, except for its processor time,
// which every user may read.
package measure
