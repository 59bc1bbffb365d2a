package origin

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
)

// httpBuffer is the size in bytes of the buffer for requests.
const httpBuffer = 16 << 10

// serveHTTP answers HTTP/1.1 requests, one after another. The path is a number,
// the size of the response's body in bytes. A request for a WebSocket is
// accepted, and its bytes are then echoed without parsing frames, which no proxy
// does either. Bodies of requests must have a Content-Length.
func serveHTTP(c net.Conn) error {
	defer c.Close()
	r := textproto.NewReader(bufio.NewReaderSize(c, httpBuffer))
	var answer []byte
	for last := -1; ; {
		line, head, err := readRequest(r)
		if err != nil {
			return err
		}
		if key := head.Get("Sec-WebSocket-Key"); key != "" {
			return echoWebSocket(c, r.R, key)
		}
		size, err := sizeOf(line)
		if err != nil {
			return err
		}
		if size != last {
			answer, last = response(size), size
		}
		if _, err := c.Write(answer); err != nil {
			return err
		}
	}
}

// readRequest reads a request and skips its body.
func readRequest(r *textproto.Reader) (line string, head textproto.MIMEHeader, err error) {
	if line, err = r.ReadLine(); err != nil {
		return "", nil, err
	}
	if head, err = r.ReadMIMEHeader(); err != nil {
		return "", nil, err
	}
	if length := head.Get("Content-Length"); length != "" {
		n, err := strconv.Atoi(length)
		if err != nil {
			return "", nil, err
		}
		_, err = r.R.Discard(n)
		return line, head, err
	}
	return line, head, nil
}

// sizeOf returns the number in a request line: GET /1024 HTTP/1.1.
func sizeOf(line string) (int, error) {
	_, rest, _ := strings.Cut(line, " /")
	number, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > maxSize {
		return 0, fmt.Errorf("request %q: %w", line, errOrder)
	}
	return n, nil
}

// response has the headers that a Mattermost sends with most answers.
func response(size int) []byte {
	head := "HTTP/1.1 200 OK\r\n" +
		"Content-Type: application/json\r\n" +
		"Vary: Origin, Accept-Encoding\r\n" +
		"X-Request-Id: x9jqcqgz4bn3ixkeo4yp5q1t7h\r\n" +
		"X-Version-Id: 11.3.0.20261101.1\r\n" +
		"Cache-Control: no-cache, must-revalidate, private\r\n" +
		"Expires: 0\r\n" +
		"Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n" +
		"Content-Length: " + strconv.Itoa(size) + "\r\n\r\n"
	return append([]byte(head), make([]byte, size)...)
}

// echoWebSocket accepts a WebSocket (RFC 6455, section 4.2.2) and echoes all
// bytes.
func echoWebSocket(c net.Conn, r *bufio.Reader, key string) error {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	agreed := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
	if _, err := io.WriteString(c, agreed); err != nil {
		return err
	}
	_, err := io.Copy(struct{ io.Writer }{c}, r) // without a pipe
	return err
}
