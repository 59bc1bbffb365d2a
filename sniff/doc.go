// Package sniff turns the first bytes of a TLS connection into facts: which
// server the client asks for, what it offers to speak, and whether the bytes
// are a ClientHello at all.
//
// It reads bytes it is given and nothing else. It opens no socket, keeps no
// clock, decrypts nothing, and changes no byte: whoever relays the connection
// forwards what the client sent, record for record.
//
// A [Parser] follows one connection. Each call to [Parser.Parse] has one of
// three outcomes: the [Hello] is filled, [ErrNeedMore], or a [*Reject] that
// carries the alert to send and a reason to count. "The client named no
// server" is a Hello without a name and never the result of bytes that could
// not be read, so that a malformed hello cannot select the route meant for
// nameless ones (CVE-2026-32305, CVE-2020-8660).
//
// # Compared with crypto/tls
//
// Where crypto/tls accepts a hello, this package accepts it too and sees the
// same name and protocols, except that it is stricter in these points:
//
//   - the major record version must be 3 (crypto/tls: below 16);
//   - a warning alert before or inside the hello is refused, not skipped;
//   - the record that ends the hello may hold nothing after it;
//   - the hello with its record headers must fit in [Parser.Limit];
//   - a session id has at most 32 bytes, and there is at least one cipher
//     suite and one compression method;
//   - the name must satisfy [AppendName] or be an IP literal, and be the only
//     entry of its list, of type host_name.
//
// And looser in these, which decide nothing here and are the origin's to judge:
//
//   - one trailing dot of the name is removed (crypto/tls refuses the hello);
//   - of the extensions, only the bodies of server_name, ALPN,
//     signature_algorithms, supported_versions and early_data are examined;
//     every other body is skipped by its length.
//
// The test of the fuzz target FuzzParse holds both lists in code.
package sniff
