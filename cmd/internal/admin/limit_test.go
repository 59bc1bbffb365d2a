package admin

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestRequestsAboveTheLimitAreRefused(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	h := limitRequests(2, func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-leave
	})
	serve := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		return w.Code
	}
	codes := make(chan int)
	for range 2 {
		go func() { codes <- serve() }()
		<-entered
	}
	if got := serve(); got != http.StatusServiceUnavailable {
		t.Errorf("the third request: status %d, want 503", got)
	}
	close(leave)
	for range 2 {
		if got := <-codes; got != http.StatusOK {
			t.Errorf("status %d, want 200", got)
		}
	}
	go func() { <-entered }()
	if got := serve(); got != http.StatusOK {
		t.Errorf("after the others: status %d, want 200", got)
	}
}

func TestConnectionsAboveTheLimitWait(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	ln := newLimitListener(inner, 1)
	for range 2 {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	first, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan net.Conn)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			t.Error(err)
		}
		second <- conn
	}()
	select {
	case <-second:
		t.Fatal("two connections were accepted")
	default:
	}
	first.Close()
	first.Close() // gives one place back, not two
	(<-second).Close()
	if got := len(ln.slots); got != 0 {
		t.Errorf("%d places are taken, want 0", got)
	}
}
