package accesslog

import (
	"bytes"
	"log/slog"

	"culvert/l4/terminate"
)

// appendRequest adds r to dst as one line. The line's time is when the request
// ended, or when its WebSocket began.
func (f *jsonFormat) appendRequest(dst *bytes.Buffer, r *terminate.Request) {
	f.attrs = append(f.attrs[:0],
		slog.String("client", r.Client),
		slog.String("host", r.Host),
		slog.String("method", r.Method),
		slog.String("path", r.Path),
		slog.String("protocol", r.Protocol),
		slog.Int("status", r.Status),
		slog.String("refused", r.Refused),
		slog.String("server", r.Server),
		slog.Int("tries", r.Tries),
		slog.Int64("bytes_in", r.BytesIn),
		slog.Int64("bytes_out", r.BytesOut),
		slog.Bool("upgraded", r.Upgraded),
		slog.Float64("total_ms", milliseconds(r.Total)),
	)
	f.finish(dst, r.Start.Add(r.Total), "request")
}
