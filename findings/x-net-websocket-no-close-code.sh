#!/usr/bin/env bash
# golang.org/x/net/websocket v0.62.0 tells a client neither code nor reason of a close frame.
#
# Most would guess: an error that carries the code, as every other WebSocket
# library of Go gives (coder/websocket's CloseError, gorilla's CloseError).
#
# What happens: websocket.Message.Receive gives io.EOF for every close frame, the
# same as for a connection that was cut; there is no other place to ask.
#
# Why it matters to us: our close codes say whether to come back. A client with
# this library cannot tell a token that is refused (4401) from a server that
# restarts (1001), and asks for ever.
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
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	coder "github.com/coder/websocket"
	xnet "golang.org/x/net/websocket"
)

func main() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := coder.Accept(w, r, nil)
		if err != nil {
			return
		}
		c.Close(4401, "token refused")
	}))
	defer server.Close()
	url := "ws" + strings.TrimPrefix(server.URL, "http")

	c, err := xnet.Dial(url, "", server.URL)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var message string
	err = xnet.Message.Receive(c, &message)
	fmt.Printf("server closes with 4401 \"token refused\"; x/net/websocket gives %v (%T)\n", err, err)
	if err != io.EOF {
		os.Exit(1)
	}
}
GO
go get golang.org/x/net@v0.62.0 github.com/coder/websocket@v1.8.15 >/dev/null 2>&1
go list -m golang.org/x/net github.com/coder/websocket
go run .
