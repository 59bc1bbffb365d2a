package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"culvert/sniff"
)

func sniffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sniff",
		Short: "Say what a client's first bytes ask for, as JSON",
		Long: `sniff reads the first bytes of a TLS connection from standard input and prints
what the ClientHello in them says. Bytes that culvert would reject are an error
with the reason and the alert a client would get.`,
		Example: `  culvert sniff < hello.bin
  nc -l 8443 | culvert sniff &
  openssl s_client -connect localhost:8443 -servername chat.example.com`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageErrorf("sniff reads standard input: culvert sniff < FILE")
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sniffTo(cmd.OutOrStdout(), cmd.InOrStdin())
		},
	}
}

// facts is what sniff prints.
type facts struct {
	ServerName    string   `json:"server_name"`
	RawName       string   `json:"raw_name,omitempty"` // when it is not ServerName
	IPLiteral     bool     `json:"ip_literal"`
	ALPN          []string `json:"alpn"`
	Versions      []string `json:"versions"`
	LegacyVersion string   `json:"legacy_version"`
	JA4           string   `json:"ja4"`
	JA4Raw        string   `json:"ja4_r"`
	ECH           string   `json:"ech"`
	EarlyData     bool     `json:"early_data"`
	PreSharedKey  bool     `json:"pre_shared_key"`
	Length        int      `json:"length"`
	Trailing      bool     `json:"trailing"`
}

// sniffTo reads a hello from r and describes it to w.
func sniffTo(w io.Writer, r io.Reader) error {
	var hello sniff.Hello
	if err := readHello(r, &hello); err != nil {
		return err
	}
	out, err := json.MarshalIndent(factsOf(&hello), "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", out)
	return err
}

// readHello reads until the parser has decided, and so never more than the
// parser's limit and one read.
func readHello(r io.Reader, hello *sniff.Hello) error {
	var parser sniff.Parser
	var all []byte
	chunk := make([]byte, 4096)
	for {
		n, readErr := r.Read(chunk)
		all = append(all, chunk[:n]...)
		err := parser.Parse(all, hello)
		var reject *sniff.Reject
		switch {
		case err == nil:
			return nil
		case errors.As(err, &reject):
			return fmt.Errorf("%w (reason %s, alert %v)", reject, reject.Reason, reject.Alert)
		case errors.Is(readErr, io.EOF) && len(all) == 0:
			return errors.New("no bytes on standard input")
		case errors.Is(readErr, io.EOF):
			return fmt.Errorf("incomplete hello: it goes on after these %d bytes", len(all))
		case readErr != nil:
			return fmt.Errorf("read standard input: %w", readErr)
		}
	}
}

func factsOf(h *sniff.Hello) facts {
	f := facts{
		ServerName:    string(h.ServerName()),
		IPLiteral:     h.IPLiteral,
		ALPN:          []string{},
		Versions:      []string{},
		LegacyVersion: tls.VersionName(h.LegacyVersion),
		JA4:           printable(h.JA4()),
		JA4Raw:        printable(h.JA4Raw()),
		ECH:           h.ECHState(),
		EarlyData:     h.EarlyData,
		PreSharedKey:  h.PreSharedKey,
		Length:        h.Length,
		Trailing:      h.Trailing,
	}
	if raw := string(h.RawName()); raw != f.ServerName {
		f.RawName = printable(raw)
	}
	for _, p := range h.ALPN() {
		f.ALPN = append(f.ALPN, printable(p))
	}
	for _, v := range h.Versions() {
		f.Versions = append(f.Versions, versionName(v))
	}
	return f
}

// versionName names a TLS version. Clients offer meaningless ones of the form
// 0x?A?A, both bytes alike, to keep servers from choking on new ones: GREASE
// (RFC 8701 section 2).
func versionName(v uint16) string {
	if v&0x0f0f == 0x0a0a && v>>8 == v&0xff {
		return "GREASE"
	}
	return tls.VersionName(v)
}

// printable returns s with everything but printable ASCII as \xfa: a byte
// that JSON would replace stays what it was. A backslash is \x5c.
func printable(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c <= '~' && c != '\\' {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, `\x%02x`, s[i])
	}
	return b.String()
}
