package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
)

func TestReservedMemory(t *testing.T) {
	for _, c := range []struct {
		limit, connections, want int64
	}{
		{0, 0, 0},
		{512 << 20, 0, 0}, // without a limit for connections nothing can be set aside
		{0, 64 << 20, 0},
		{512 << 20, 100 << 20, (100 + 24 + 32) << 20},
	} {
		if got, err := reservedMemory(c.limit, c.connections); got != c.want || err != nil {
			t.Errorf("reservedMemory(%d, %d) = %d, %v, want %d", c.limit, c.connections, got, err, c.want)
		}
	}
	_, err := reservedMemory(512<<20, 200<<20)
	if err == nil || !strings.Contains(err.Error(), "--connection-memory 200MiB: want at most a third") {
		t.Errorf("200 MiB of 512 for connections: %v, want an error that names the flag and the rule", err)
	}
	// The smallest server has room for messages.
	o := serveOptions{connectionMemory: cli.AutoMemory}
	if got, err := reservedMemory(cli.LeastMemory, o.connectionLimit(cli.LeastMemory)); err != nil || got > cli.LeastMemory*7/10 {
		t.Errorf("of %d bytes %d are set aside, %v", cli.LeastMemory, got, err)
	}
}

func TestMaxConnections(t *testing.T) {
	for files, want := range map[int]int{0: 0, 256: 128, 1024: 640, 20000: 19616} {
		if got := maxConnections(files); got != want {
			t.Errorf("maxConnections(%d) = %d, want %d", files, got, want)
		}
	}
}

func TestTrustedProxies(t *testing.T) {
	o, err := configured(t, []string{"--trusted-proxies=10.1.2.3/8, 192.0.2.7,fd00::1/8", "--proxy-protocol"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("fd00::/8")}
	if !slices.Equal(o.trustedProxies, want) || !o.proxyProtocol {
		t.Errorf("proxies = %v, %t, want %v with the protocol", o.trustedProxies, o.proxyProtocol, want)
	}
	o.trustedProxies, o.dev = nil, true
	if err := o.check(func(string) bool { return false }); err == nil || !strings.Contains(err.Error(), "--proxy-protocol: want --trusted-proxies") {
		t.Errorf("--proxy-protocol alone: %v, want an error that names --trusted-proxies", err)
	}
}
