// Package sniff parses the first bytes of a TLS connection: the server name and
// the protocols that the client requests, and whether the bytes are a
// ClientHello at all.
//
// It works only on the bytes passed to it. It opens no socket, reads no clock,
// decrypts nothing and changes no byte, so that a relay can forward exactly
// what the client sent.
//
// A [Parser] follows one connection. Each call to [Parser.Parse] has one of
// three outcomes: the [Hello] is filled, [ErrNeedMore], or a [*Reject] that
// carries the alert to send and a reason to count. A missing server name is a
// Hello without a name, and never the result of bytes that could not be parsed,
// so that a malformed hello cannot select the route for hellos without a name
// (CVE-2026-32305, CVE-2020-8660).
//
// # Compared with crypto/tls
//
// A hello that crypto/tls accepts is also accepted by this package, with the
// same name and protocols, except that it is stricter in these points:
//
//   - the major record version must be 3 (crypto/tls: below 16);
//   - a warning alert before or inside the hello is refused, not skipped;
//   - the last record of the hello must not contain anything after it;
//   - the hello with its record headers must fit in [Parser.Limit];
//   - a session id has at most 32 bytes, and there is at least one cipher
//     suite and one compression method;
//   - the name must satisfy [AppendName] or be an IP literal, and be the only
//     entry of its list, of type host_name.
//
// It is less strict in these, which do not affect its results and which the
// server checks itself:
//
//   - one trailing dot of the name is removed (crypto/tls refuses the hello);
//   - of the extensions, only the bodies of server_name, ALPN,
//     signature_algorithms, supported_versions and early_data are examined;
//     every other body is skipped by its length.
//
// The fuzz target FuzzParse has both lists in code.
package sniff
