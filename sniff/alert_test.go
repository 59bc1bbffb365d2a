package sniff

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestAlertRecordIsUnderstoodByCryptoTLS(t *testing.T) {
	for _, alert := range []Alert{
		AlertUnexpectedMessage, AlertRecordOverflow, AlertIllegalParameter, AlertDecodeError, AlertUnrecognizedName,
	} {
		client, server := net.Pipe()
		go func() {
			server.Read(make([]byte, 64<<10))
			server.Write(alert.AppendRecord(nil))
			io.Copy(io.Discard, server)
		}()
		err := tls.Client(client, &tls.Config{ServerName: "a.example"}).Handshake()
		client.Close()
		if want := tls.AlertError(alert).Error(); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v: client reports %v, want %s", alert, err, want)
		}
	}
}

func TestAlertRecord(t *testing.T) {
	got := AlertDecodeError.AppendRecord([]byte{1})
	if want := []byte{1, 21, 3, 3, 0, 2, 2, 50}; !slices.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
	if got := AlertNone.AppendRecord(nil); len(got) != 0 {
		t.Errorf("AlertNone: got % x, want nothing", got)
	}
}

func TestAlertNames(t *testing.T) {
	for alert, want := range map[Alert]string{
		AlertNone: "none", AlertUnexpectedMessage: "unexpected_message", AlertRecordOverflow: "record_overflow",
		AlertIllegalParameter: "illegal_parameter", AlertDecodeError: "decode_error",
		AlertUnrecognizedName: "unrecognized_name", 80: "80",
	} {
		if got := alert.String(); got != want {
			t.Errorf("alert %d: got %q, want %q", uint8(alert), got, want)
		}
	}
}

func TestReasonsAreDistinctLabels(t *testing.T) {
	label := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	reasons := Reasons()
	slices.Sort(reasons)
	if got := len(slices.Compact(slices.Clone(reasons))); got != len(reasons) {
		t.Errorf("%d distinct reasons of %d", got, len(reasons))
	}
	for _, r := range reasons {
		if !label.MatchString(r) {
			t.Errorf("%q is no label", r)
		}
	}
}

func TestRejectIsFoundInAWrappedError(t *testing.T) {
	err := errors.Join(io.EOF, parseOnce([]byte("GET /")))
	var r *Reject
	if !errors.Is(err, ErrNotTLS) || !errors.As(err, &r) || r.Reason != "not_tls" || r.Alert != AlertNone {
		t.Errorf("got %v, %+v", err, r)
	}
	if got := r.Error(); got != "sniff: not a TLS record" {
		t.Errorf("text is %q", got)
	}
}
