package link

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"time"

	"github.com/belfry-im/belfry/raftstore/versions"
	"github.com/prometheus/client_golang/prometheus"
)

// A Config configures a Link. ID, Name and Listen are needed, and one of TLS, Insecure
// or a Listen on a loopback address.
type Config struct {
	ID      NodeID
	Name    string
	Cluster string // UUID; "" until the node belongs to a cluster, see Link.SetCluster
	Listen  string // host:port
	TLS     *TLSFiles
	// Speaks has the versions of what goes through the link. Nodes without a version in
	// common are refused. The link adds its own.
	Speaks versions.Set
	// Insecure: nodes on other machines may speak without TLS, so whoever reaches the
	// port may pass for any of them.
	Insecure bool

	// OnStatus is called with the newest status of a peer; older ones may be skipped.
	// OnPeer is called with each change of a peer's state, but not when SetPeers takes it
	// out. The calls for one peer come one after the other, in order; those for different
	// peers may come together. They must not block for long and must not call Close. Both
	// may be nil.
	OnStatus func(node NodeID, status []byte)
	OnPeer   func(node NodeID, state PeerState)

	// Silence is the time after which a peer that says nothing is Lost; 0 = 2 s, at
	// least 300 ms.
	Silence time.Duration
	// Handshake bounds the making of a connection, with TLS and hello; 0 = 5 s.
	Handshake time.Duration
	// RPC is the time-out of an RPC of Raft, but for InstallSnapshot; 0 = 10 s.
	RPC time.Duration
	// BulkRate bounds what this node sends of snapshots, in bytes a second;
	// 0 = 64 MiB, negative = no limit.
	BulkRate int
	// BulkStall is how long a snapshot may make no progress; 0 = 10 s, at least 1 s.
	BulkStall time.Duration
	// MaxMessage bounds a gRPC message, in bytes; 0 = 16 MiB.
	MaxMessage int

	Now     func() time.Time // the clock that Offset compares; nil = time.Now
	Log     *slog.Logger     // nil discards
	Metrics prometheus.Registerer
}

// TLSFiles are the paths of PEM files. They are read again when they change, for the
// connections that are made from then on.
type TLSFiles struct {
	Cert, Key string // this node's certificate with its chain, and its key
	CA        string // bundle that the certificates of all nodes are to be verified with
}

// complete fills in what is zero, and refuses what cannot be.
func (c *Config) complete() error {
	if c.ID == "" || len(c.ID) > maxWord {
		return fmt.Errorf("link: ID: %q, want 1 to %d bytes", c.ID, maxWord)
	}
	if c.Name == "" || len(c.Name) > maxWord {
		return fmt.Errorf("link: Name: %q, want 1 to %d bytes", c.Name, maxWord)
	}
	c.Speaks = maps.Clone(c.Speaks)
	if c.Speaks == nil {
		c.Speaks = make(versions.Set)
	}
	c.Speaks[versions.Link] = linkVersions
	for _, d := range []struct {
		field         *time.Duration
		name          string
		least, preset time.Duration
	}{
		{&c.Silence, "Silence", 3 * keepAlive, 2 * time.Second},
		{&c.Handshake, "Handshake", time.Millisecond, 5 * time.Second},
		{&c.RPC, "RPC", time.Millisecond, 10 * time.Second},
		{&c.BulkStall, "BulkStall", 2 * bulkAlive, 10 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.preset
		}
		if *d.field < d.least {
			return fmt.Errorf("link: %s: %v, at least %v", d.name, *d.field, d.least)
		}
	}
	if c.MaxMessage < 0 {
		return fmt.Errorf("link: MaxMessage: %d is negative", c.MaxMessage)
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = 16 << 20
	}
	if c.BulkRate == 0 {
		c.BulkRate = 64 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("link: Listen: %w", err)
	}
	if c.TLS == nil && !c.Insecure && !isLoopback(host) {
		return fmt.Errorf("link: Listen: %s is not a loopback address; it takes certificates or Insecure", c.Listen)
	}
	return nil
}

// isLoopback reports whether host names only this machine. An empty host is all of
// its addresses.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
