// Package config is the model of a culvert configuration: what a file in any
// syntax, or a controller without a file, says.
//
// The package knows no syntax, opens no listener and starts nothing. Its parts
// are used in this order:
//
//  1. A front end fills the structs, and does nothing else.
//  2. [Config.Check] says everything that is wrong with them, and what is odd,
//     at once.
//  3. [Config.Build] resolves names and makes what the runtime runs. It is for
//     configurations that were checked without an error.
//
// # Front ends
//
// A front end reads a syntax. It reports what is wrong with that syntax:
// unknown keys and keys that are given twice, values of the wrong kind, numbers,
// durations and sizes without a unit or out of range, words that are none of
// those of an enumeration, and texts that do not become a value of the field's
// type, such as a [netip.Prefix]. It leaves the field of a value that it has
// reported zero. [Position.Errorf], [Suggester], [Quote] and [List] make its
// errors alike with those of Check, and [Errors.Sort] joins both.
//
// It does not decide what texts mean (addresses, server names, paths, names of
// pools), what is required, or what has no effect beside something else: that
// is Check's, for all front ends.
//
// It enters in each [Source] where the block begins, and the positions of all
// its keys and their values, also of keys that it could not read. Check points
// at a value that is wrong, at a key that has no effect, and at the block that
// lacks one; it takes a key as set when its value is not zero or when the key
// was entered, and does not report a key as missing that was entered. Keys have
// the names of culvert.yaml. Beyond the names of fields these are groups,
// "timeouts" of listeners, pools and terminating routes, whose keys are entered
// as "timeouts.idle"; a front end with other words for something uses the names
// of culvert.yaml nevertheless.
//
// A controller that makes a Config in Go code enters no positions. Errors name
// the listener, pool, route or server instead ([Error.Part]).
//
// # Conventions
//
// The zero value of a field is its default, which the comment says; where a
// default must be turned off a negative value does ([l4.Off] for durations).
// Texts are kept as they were written, because messages quote them and some
// policies hash them. Sizes are bytes.
package config

import (
	"net/netip"
	"time"
)

// A Config is a whole configuration. It is not changed once it was checked,
// and may be read from several goroutines then.
type Config struct {
	Source

	Path      string // of the file that it was read from, to read it again; "" for none
	Listeners []*Listener
	Pools     []*Pool // names differ; the order is that of reports

	Admin  Admin
	Log    Log
	Notify Notify
	DNS    DNS
	Limits Limits

	Loops        int           // event loops; 0: one a processor. 1 to 1024
	DrainTimeout time.Duration // how long a stop waits for connections; 0: l4.DefaultDrainTimeout; negative: they are closed at once
}

// Admin is where the process can be looked at and controlled. The zero value
// is nowhere.
type Admin struct {
	Source
	Address string // of metrics and the status page, "ip:port" or ":port"; "": none
	Socket  string // absolute path of the control socket; "": none
	Group   string // of this machine, whose members may use the socket, too; "": none
}

// Log says where each kind of log goes.
type Log struct {
	Source
	Access string // "stdout", "stderr", "off" or an absolute path; "": stdout
}

// Notify says what is told of servers that go up or down.
type Notify struct {
	Source
	Command []string // a program and its arguments; none: no command
	Webhook string   // an http or https URL; "": none
}

// DNS says how the names of servers are looked up.
type DNS struct {
	Source
	Servers  []netip.AddrPort // asked in this order; none: those of /etc/resolv.conf
	MinTTL   time.Duration    // 0: resolve.DefaultMinTTL
	MaxTTL   time.Duration    // 0: resolve.DefaultMaxTTL; not less than MinTTL
	Timeout  time.Duration    // of one question to one server; 0: resolve.DefaultTimeout
	Optional bool             // a name that cannot be looked up is a server out of service, not an error
}

// Limits bound the whole process.
type Limits struct {
	Source
	Connections    int   // at a time; 0: as many as the descriptors carry
	HelloPerPrefix int   // waiting hellos per client prefix; 0: l4.DefaultHelloPerPrefix; negative: no limit
	BufferMemory   int64 // bytes buffered for slow peers and incomplete hellos; 0: the default, l4's or what [Built.LimitBuffers] says
}
