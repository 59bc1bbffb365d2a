// Package terminate terminates TLS on chosen routes. It serves what is inside
// with an HTTP reverse proxy, which can require a pre-auth secret and client
// certificates, or relays the decrypted bytes.
//
// [Server.Serve] takes a connection whose ClientHello has not been read yet.
// The handshake runs within the [HandshakeLimiter]; then net/http reads
// requests. Each request passes guard.go (host, client certificate, secret),
// headers.go (headers that are removed and set) and upstream.go (choice of a
// server, and retries); WebSockets continue in websocket.go.
//
// The package reads no configuration file and opens no listener. The caller
// says how servers are dialed ([Upstream]).
package terminate
