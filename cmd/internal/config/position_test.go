package config

import (
	"strings"
	"testing"
	"time"
)

// inFile returns a position of the file f.
func inFile(line, column int) Position { return Position{"f", line, column} }

// TestWhereErrorsPoint: a value that is wrong is reported where the value is, a
// key without effect where the key is, and what is missing where the block
// begins.
func TestWhereErrorsPoint(t *testing.T) {
	tests := []struct {
		name   string
		change func(parts)
		want   string // the beginning of the only error
	}{
		{"a wrong value", func(c parts) { c.l.Address = "x" }, `f:1:20: found "x"`},
		{"a wrong name", func(c parts) { c.l.Name = "a b"; c.l.SetKey("name", inFile(2, 2), inFile(2, 8)) }, `f:2:8: found "a b"`},
		{"a key without effect", func(c parts) {
			c.l.ProxyHeaderTimeout = time.Second
			c.l.SetKey("timeouts.proxy_header", inFile(3, 2), inFile(3, 8))
		}, `f:3:2: "proxy_header" has no effect`},
		{"a key that has no value in Go", func(c parts) {
			c.p.Health = &Health{Check: CheckTCP}
			c.p.Health.SetKey("deep", inFile(4, 2), inFile(4, 8)) // deep: off
		}, `f:4:2: "deep" has no effect on a tcp check`},
		{"a missing key", func(c parts) { c.p.Health = &Health{Source: Source{Position: inFile(5, 2)}} }, "f:5:2: health has no check"},
		{"an entry of a list", func(c parts) { c.r.ServerNames = []Text{{inFile(6, 9), "*"}} }, `f:6:9: found "*"`},
		{"a list without positions", func(c parts) {
			c.r.ServerNames = Texts("*")
			c.r.SetKey("server_name", inFile(7, 2), inFile(7, 9))
		}, `f:7:9: found "*"`},
		{"a pool that does not exist", func(c parts) { c.l.Default = Target{ToPool, Text{inFile(8, 9), "x"}} }, `f:8:9: there is no pool "x"`},
		{"a server", func(c parts) {
			c.p.Servers[1].Address = "10.0.0.1:443"
			c.p.Servers[0].Position, c.p.Servers[1].Position = inFile(9, 2), inFile(10, 2)
		}, `f:10:2: the server "10.0.0.1:443" is in the pool already, on line 9`},
		{"another file", func(c parts) {
			c.Listeners = append(c.Listeners, &Listener{Source: Source{Position: Position{"g", 1, 1}}, Address: ":443", Pool: To("p")})
		}, `g:1:1: the listener on line 1 of f has the address :443 already`},
		{"the same file", func(c parts) {
			c.Listeners = append(c.Listeners, &Listener{Source: Source{Position: inFile(12, 1)}, Address: ":443", Pool: To("p")})
		}, `f:12:1: the listener on line 1 has the address :443 already`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			c.Listeners[0].Position = inFile(1, 2)
			c.Listeners[0].SetKey("address", inFile(1, 10), inFile(1, 20))
			tt.change(partsOf(c))
			if got := said(c); !strings.HasPrefix(got, tt.want) || strings.Contains(got, "\n") {
				t.Errorf("got  %s\nwant %s...", got, tt.want)
			}
		})
	}
}

// TestUnreadKeysAreNotMissing: what a front end has reported is not reported
// again.
func TestUnreadKeysAreNotMissing(t *testing.T) {
	l := &Listener{}
	for _, key := range []string{"address", "default", "proxy_protocol"} {
		l.SetKey(key, inFile(1, 1), inFile(1, 9))
	}
	l.ProxyProtocol = &ProxyProtocol{}
	route := &Route{}
	route.SetKey("server_name", inFile(2, 1), Position{})
	route.SetKey("pool", inFile(2, 1), Position{})
	l.Routes = []*Route{route}
	pool := &Pool{Name: "p", Health: &Health{Interval: 0, Timeout: time.Minute}}
	pool.SetKey("servers", inFile(3, 1), Position{})
	pool.Health.SetKey("check", inFile(3, 1), Position{})
	pool.Health.SetKey("interval", inFile(3, 1), Position{})
	c := &Config{Listeners: []*Listener{l}, Pools: []*Pool{pool}}
	if errs, _ := c.Check(); len(errs) > 0 {
		t.Error(errs)
	}
}

// TestErrorsInTheOrderOfTheFile: whatever the order in which they are found.
func TestErrorsInTheOrderOfTheFile(t *testing.T) {
	e := Errors{inFile(2, 1).Errorf("c"), inFile(1, 5).Errorf("b"), Position{File: "f"}.Errorf("a"), Position{"g", 1, 1}.Errorf("e"), inFile(2, 1).Errorf("d")}
	if got, want := e.Err().Error(), "f: a\nf:1:5: b\nf:2:1: c\nf:2:1: d\ng:1:1: e"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := (Errors{}).Err(); err != nil {
		t.Errorf("no errors are the error %v", err)
	}
}
