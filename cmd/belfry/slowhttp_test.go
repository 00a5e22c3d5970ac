package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestWithinTime sends requests that never come to their end, or whose answers
// nobody reads. Their connections must not stay.
func TestWithinTime(t *testing.T) {
	answer := strings.Repeat("x", 64<<10)
	server := &http.Server{Handler: withinTime(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, answer)
	}), 200*time.Millisecond)}
	gone := make(chan struct{}, 8)
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			gone <- struct{}{}
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go server.Serve(listener)
	for name, request := range map[string]string{
		"a body that does not come": "POST /v1/ws HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
		"a chunk that does not end": "GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nx",
		"answers that nobody reads": strings.Repeat("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 1000),
	} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go fmt.Fprint(conn, request)
		select {
		case <-gone:
		case <-time.After(time.Minute):
			t.Errorf("%s: the connection is still there", name)
		}
	}
}
