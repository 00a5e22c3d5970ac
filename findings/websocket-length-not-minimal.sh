#!/usr/bin/env bash
# coder/websocket v1.8.15, gorilla/websocket v1.5.3 and gobwas/ws v1.4.0 take frames whose length is not
# written in the fewest bytes.
#
# Most would guess: refused with 1002, as other broken framing is. RFC 6455, 5.2:
# "in all cases, the minimal number of bytes MUST be used to encode the length".
#
# What happens: a text frame of two bytes whose length stands in 16 or in 64 bits
# is read like any other.
#
# Why it matters to us: our own reader of frames is compared with such a library by
# a fuzz target; where the reader is strict, the two differ, and the target has to
# know.
set -euo pipefail
command -v go >/dev/null || { echo "go is needed" >&2; exit 2; }

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module finding

go 1.25
MOD
cat >main.go <<'GO'
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	coder "github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	gorilla "github.com/gorilla/websocket"
)

const handshake = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

func main() {
	got := make(chan string, 1)
	tell := func(b []byte, err error) { got <- fmt.Sprintf("%q, %v", b, err) }
	readers := map[string]http.HandlerFunc{
		"coder/websocket": func(w http.ResponseWriter, r *http.Request) {
			c, err := coder.Accept(w, r, nil)
			if err == nil {
				_, b, err := c.Read(context.Background())
				tell(b, err)
			}
		},
		"gorilla/websocket": func(w http.ResponseWriter, r *http.Request) {
			c, err := new(gorilla.Upgrader).Upgrade(w, r, nil)
			if err == nil {
				_, b, err := c.ReadMessage()
				tell(b, err)
			}
		},
		"gobwas/ws": func(w http.ResponseWriter, r *http.Request) {
			c, _, _, err := ws.UpgradeHTTP(r, w)
			if err == nil {
				b, _, err := wsutil.ReadClientData(c)
				tell(b, err)
			}
		},
	}
	changed := false
	for name, read := range readers {
		for bits, frame := range map[int]string{
			16: "\x81\xfe\x00\x02\x00\x00\x00\x00hi",
			64: "\x81\xff\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00hi",
		} {
			server := httptest.NewServer(read)
			conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
			if err != nil {
				panic(err)
			}
			fmt.Fprint(conn, handshake)
			if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
				panic(err)
			}
			fmt.Fprint(conn, frame)
			seen := <-got
			fmt.Printf("%s, the length 2 in %d bits: %s\n", name, bits, seen)
			changed = changed || seen != `"hi", <nil>`
			conn.Close()
		}
	}
	if changed {
		os.Exit(1)
	}
}
GO
go get github.com/coder/websocket@v1.8.15 github.com/gorilla/websocket@v1.5.3 github.com/gobwas/ws@v1.4.0 >/dev/null 2>&1
go list -m github.com/coder/websocket github.com/gorilla/websocket github.com/gobwas/ws
go run .
