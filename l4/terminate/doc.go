// Package terminate ends TLS on chosen routes and serves what is inside: an
// HTTP reverse proxy that asks for a pre-auth secret and for client
// certificates, or a relay of the plain bytes.
//
// A connection's way: [Server.Serve] takes it with its hello still to be read,
// the handshake runs within the [Gate], and net/http reads requests from it.
// Each request passes guard.go (the host, the client certificate, the secret),
// headers.go (what is removed and set) and upstream.go (which server, and what
// happens when it fails); WebSockets go on in websocket.go.
//
// The package knows no configuration file and opens no listener; whoever uses
// it says how servers are dialed ([Upstream]).
package terminate
