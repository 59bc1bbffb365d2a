package l4

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

func TestStatsAddUpOverLoops(t *testing.T) {
	a, b := startOrigin(t, echo), startOrigin(t, echo)
	pool := roundRobin(t, a.addr, refusedAddr(t), b.addr)
	r := startRig(t, &Config{Loops: 3, Listeners: []*Listener{
		plainListener(pool),
		tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: pool}),
	}})
	wire := craftHello(sniExtension("chat.example.com"))
	const each = 100
	var stop atomic.Bool
	var scraping, talking sync.WaitGroup
	scraping.Go(func() {
		last := uint64(0)
		for !stop.Load() {
			st := r.e.Stats()
			n := st.Listeners[0].Accepted + st.Listeners[1].Accepted
			if n < last || n > 4*each {
				t.Errorf("%d were accepted after %d", n, last)
				return
			}
			last = n
		}
	})
	talk := func(listener int, wire []byte) {
		talking.Go(func() {
			for range each {
				c, err := net.DialTimeout("tcp", r.addrs[listener], patience)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = r.bounce(c, wire)
				c.Close()
			}
		})
	}
	talk(0, []byte("12345"))
	talk(1, wire)
	talk(1, craftHello(sniExtension("nobody.example.com")))
	talk(1, craftHello(sniExtension("bad name")))
	talking.Wait()
	stop.Store(true)
	scraping.Wait()
	ids, failed := map[uint64]bool{}, 0
	for range 4 * each {
		rec := r.next()
		ids[rec.ID] = true
		failed += len(rec.Tries)
	}
	if len(ids) != 4*each || ids[0] {
		t.Errorf("%d connections have %d different numbers", 4*each, len(ids))
	}
	st := r.e.Stats()
	for i, want := range []map[Ending]uint64{
		{{Client, ReasonClosed}: each},
		{{Client, ReasonClosed}: each, {Culvert, ReasonNoRoute}: each, {Culvert, "bad_name"}: each},
	} {
		got, total := st.Listeners[i], uint64(0)
		for how, n := range want {
			total += n
			if got.Ended[how] != n {
				t.Errorf("%s: %d ended with %v, want %d", got.Name, got.Ended[how], how, n)
			}
		}
		if got.Accepted != total || got.Active != 0 || len(got.Ended) != len(want) {
			t.Errorf("%s: got %+v, want %d accepted and none active", got.Name, got, total)
		}
	}
	for _, rt := range st.Routes {
		want := map[string]uint64{"chat.example.com": each, "default": each, "no alpn match": 0}[rt.Route]
		if rt.Taken != want {
			t.Errorf("%s was taken %d times, want %d", rt.Route, rt.Taken, want)
		}
	}
	var sum ServerStats
	var refused, failovers uint64
	for _, s := range st.Servers {
		sum.Connections += s.Connections
		sum.BytesUp += s.BytesUp
		sum.BytesDown += s.BytesDown
		refused += s.Failures[ReasonRefused]
		failovers += s.Failovers
	}
	bytes := uint64(each * (5 + len(wire)))
	if sum.Connections != 2*each || sum.BytesUp != bytes || sum.BytesDown != bytes {
		t.Errorf("got %d connections, %d bytes up and %d down; want %d, and %d both ways", sum.Connections, sum.BytesUp, sum.BytesDown, 2*each, bytes)
	}
	if refused == 0 || refused != uint64(failed) || failovers != refused {
		t.Errorf("%d refusals and %d failovers were counted, want %d of both", refused, failovers, failed)
	}
}
