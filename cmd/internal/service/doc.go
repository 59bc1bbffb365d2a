// Package service is the runtime: it makes a process serve a configuration,
// replaces the configuration while connections go on, hands everything over to
// a new process, and stops.
//
// It runs the engine (l4), the probes and ejections (health), the routes whose
// TLS ends here (l4/terminate), name lookups, the access log, the admin server
// and the control socket, notifications, and the closing of connections.
//
// It knows no syntax, no command line and no signal. Those are a front end's,
// which does this:
//
//  1. Fill a configuration, from a file of any syntax or from anything else,
//     and check it.
//  2. Call [Start] with it. It serves when Start returns.
//  3. Call [Service.Replace] with another configuration whenever there is one.
//     It either serves then, or nothing has changed.
//  4. Where the process can be started anew, call [Service.Upgrade] on demand.
//     After [Service.Replaced] is closed, another process serves, and
//     [Service.Leave] ends what is left here.
//  5. Call [Service.Drain] at the end, or [Service.Close].
//
// With [Options.Load] the control socket's reload command works, too.
package service
