package sniff_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"culvert/sniff"
)

// readHello reads from c until the parser has a verdict. The bytes are the
// caller's to forward, or to follow with an alert.
func readHello(c net.Conn, h *sniff.Hello) ([]byte, error) {
	var p sniff.Parser
	b := make([]byte, 0, sniff.DefaultLimit)
	for {
		n, err := c.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if verdict := p.Parse(b, h); verdict != sniff.ErrNeedMore {
			return b, verdict
		}
		if err == nil && len(b) == cap(b) {
			err = io.ErrShortBuffer
		}
		if err != nil {
			return b, err
		}
	}
}

func ExampleParser() {
	client, server := net.Pipe()
	defer server.Close()
	go tls.Client(client, &tls.Config{ServerName: "Chat.example.com", NextProtos: []string{"h2"}}).Handshake()

	var h sniff.Hello
	if _, err := readHello(server, &h); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s, h2 %v, ECH %s\n", h.ServerName(), h.OffersALPN("h2"), h.ECHState())
	// Output: chat.example.com, h2 true, ECH none
}

func ExampleReject() {
	var p sniff.Parser
	err := p.Parse([]byte("\x16\x03\x01\x00\x00"), new(sniff.Hello))

	var r *sniff.Reject
	if errors.As(err, &r) {
		fmt.Printf("%s: % x\n", r.Reason, r.Alert.AppendRecord(nil))
	}
	// Output: empty_record: 15 03 03 00 02 02 0a
}

// JA4 identifies the client's software: its version, ciphers and extensions.
func ExampleHello_JA4() {
	firstFlight, err := os.ReadFile("testdata/curl-7.88.bin")
	if err != nil {
		fmt.Println(err)
		return
	}
	var p sniff.Parser
	var h sniff.Hello
	if err := p.Parse(firstFlight, &h); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(h.JA4())
	// Output: t13d3112h2_e8f1e7e78f70_b26ce05bbdd6
}
