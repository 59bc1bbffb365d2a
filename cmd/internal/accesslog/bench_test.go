package accesslog

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"culvert/l4"
)

// BenchmarkLine writes records as lines. The reference is a benchmark whose
// speed does not depend on the package, encoding/json with the same values;
// bench/check compares the others with it in the same run.
func BenchmarkLine(b *testing.B) {
	b.Run("relayed", func(b *testing.B) { benchmarkLine(b, record(7)) })

	failedOver := record(8)
	for range 3 {
		failedOver.Tries = append(failedOver.Tries, l4.Try{Server: "10.0.0.12:443", Reason: l4.ReasonRefused, Duration: time.Millisecond})
	}
	b.Run("failed-over", func(b *testing.B) { benchmarkLine(b, failedOver) })

	hostile := record(9)
	hostile.ServerName = strings.Repeat("\x1b\u202e\xff", 40)
	b.Run("hostile", func(b *testing.B) { benchmarkLine(b, hostile) })

	b.Run("reference", benchmarkPlainJSON)
}

func benchmarkLine(b *testing.B, r *l4.Record) {
	f := newJSON()
	var line bytes.Buffer
	f.append(&line, r)
	if !json.Valid(line.Bytes()) {
		b.Fatalf("not JSON: %s", line.Bytes())
	}
	b.SetBytes(int64(line.Len()))
	b.ReportAllocs()
	for b.Loop() {
		line.Reset()
		f.append(&line, r)
	}
}

// benchmarkPlainJSON has a type of its own, so that changes of Record do not
// affect it.
func benchmarkPlainJSON(b *testing.B) {
	r := record(7)
	facts := struct {
		ID                                                      uint64
		Client                                                  string
		Listener, ServerName, ALPN, Route, Pool, Server, Reason string
		Up, Down                                                uint64
		Hello, Connect, FirstByte, Total                        float64
		End                                                     time.Time
	}{
		r.ID, r.Client.String(),
		r.Listener, r.ServerName, r.ALPN, r.Route, r.Pool, r.Server, string(r.Reason),
		r.BytesUp, r.BytesDown,
		1.5, 2, 3, 1250,
		r.Start,
	}
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	b.ReportAllocs()
	for b.Loop() {
		line.Reset()
		if err := enc.Encode(&facts); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(line.Len()))
}
