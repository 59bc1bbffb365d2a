package accesslog

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"culvert/l4"
)

// jsonFormat formats records as JSON lines of printable ASCII. It must be used
// by one goroutine.
type jsonFormat struct {
	handler slog.Handler
	line    bytes.Buffer // the handler's output, not yet pure ASCII
	attrs   []slog.Attr
}

func newJSON() *jsonFormat {
	f := &jsonFormat{}
	f.handler = slog.NewJSONHandler(&f.line, &slog.HandlerOptions{ReplaceAttr: dropLevel})
	return f
}

// dropLevel removes the level, which is the same in every line.
func dropLevel(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey {
		return slog.Attr{}
	}
	return a
}

// append adds r to dst as one line. The line's time is when the connection
// ended.
func (f *jsonFormat) append(dst *bytes.Buffer, r *l4.Record) {
	f.attrs = appendAttrs(f.attrs[:0], r)
	f.finish(dst, r.Start.Add(r.Total), "connection")
}

// finish adds a line with the attributes in f.attrs.
func (f *jsonFormat) finish(dst *bytes.Buffer, end time.Time, message string) {
	rec := slog.NewRecord(end.Truncate(time.Microsecond).UTC(), slog.LevelInfo, message, 0)
	rec.AddAttrs(f.attrs...)
	f.line.Reset()
	_ = f.handler.Handle(context.Background(), rec) // a bytes.Buffer does not fail
	appendASCII(dst, f.line.Bytes())
}

// appendAttrs appends the keys and values of a line, in order.
func appendAttrs(to []slog.Attr, r *l4.Record) []slog.Attr {
	to = append(to,
		slog.Uint64("id", r.ID),
		slog.String("client", clientString(r.Client)),
		slog.String("listener", r.Listener),
		slog.String("server_name", r.ServerName),
		slog.String("alpn", r.ALPN),
		slog.String("route", r.Route),
		slog.String("pool", r.Pool),
		slog.String("server", r.Server),
		slog.Any("tries", tries(r.Tries)),
		slog.Uint64("bytes_up", r.BytesUp),
		slog.Uint64("bytes_down", r.BytesDown),
	)
	to = appendStep(to, "hello_ms", r.Hello)
	to = appendStep(to, "connect_ms", r.Connect)
	to = appendStep(to, "first_byte_ms", r.FirstByte)
	to = appendStep(to, "total_ms", r.Total)
	return append(to,
		slog.String("ended_by", r.EndedBy.String()),
		slog.String("reason", string(r.Reason)),
	)
}

// appendStep appends the duration of a step. A negative d means that the step
// was not reached, and appends nothing.
func appendStep(to []slog.Attr, key string, d time.Duration) []slog.Attr {
	if d < 0 {
		return to
	}
	return append(to, slog.Float64(key, milliseconds(d)))
}

// milliseconds returns d in milliseconds with a resolution of 1 us.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)/time.Microsecond) / 1000
}

// clientString returns "" for a unix socket's peer, which has no address.
func clientString(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// try is an l4.Try in the form of the log.
type try struct {
	Server string    `json:"server"`
	Reason l4.Reason `json:"reason"`
	MS     float64   `json:"ms"`
}

func tries(ts []l4.Try) []try {
	out := make([]try, len(ts))
	for i, t := range ts {
		out[i] = try{t.Server, t.Reason, milliseconds(t.Duration)}
	}
	return out
}

// appendASCII appends line, a JSON text and its newline, with everything but
// printable ASCII as \u escapes. JSON allows such bytes inside strings only,
// where the escape has the same meaning, so the value does not change.
// slog.JSONHandler has already escaped control bytes, but not DEL and valid
// UTF-8: without this a server name could move a terminal's cursor (C1
// controls) or reverse its text (U+202E).
func appendASCII(dst *bytes.Buffer, line []byte) {
	for len(line) > 0 {
		n := 0
		for n < len(line) && line[n] < 0x7f {
			n++
		}
		dst.Write(line[:n])
		line = line[n:]
		if len(line) == 0 {
			return
		}
		r, size := utf8.DecodeRune(line)
		appendEscape(dst, r)
		line = line[size:]
	}
}

// appendEscape writes r as \uXXXX, or two of them (RFC 8259 section 7).
func appendEscape(dst *bytes.Buffer, r rune) {
	if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
		appendEscape(dst, hi)
		appendEscape(dst, lo)
		return
	}
	const digits = "0123456789abcdef"
	dst.Write([]byte{'\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15]})
}
