// Package nodes runs Belfry servers as processes of this machine, on loopback: one
// alone, or a cluster. They can be killed, frozen, restarted and robbed of their
// data, and, where network namespaces can be made, be cut off from each other.
package nodes

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"
)

const (
	// Patience bounds the time from a start until a node serves, and that from
	// SIGTERM to its end.
	Patience = 60 * time.Second
	// tokenTTL is how long a user's token is valid: longer than any run.
	tokenTTL = 240 * time.Hour
)

// A Config describes a cluster. Program and Dir are needed.
type Config struct {
	// Program is a file with the server's binary.
	Program string
	// Dir is a folder that exists. What the nodes write lies in it.
	Dir string
	// Nodes is how many there are at first, and begin the cluster together; 0 = 1,
	// which is a server without a cluster.
	Nodes int
	// Flags are those of serve for all nodes, beyond those that New sets: limits of
	// rates are off, unless Limited is set.
	Flags   []string
	Limited bool
	// Apart puts each node into a network namespace of its own, so that links
	// between them can be cut and slowed; see Cluster.Links. It needs Linux and a
	// process that may make such namespaces.
	Apart bool
	// Ended, if set, is called when a node ends that was not told to.
	Ended func(*Node, error)
}

// A Cluster is servers that share secrets. Its methods are for one goroutine at a
// time, unless they say otherwise.
type Cluster struct {
	config Config
	nodes  []*Node
	secret []byte
	links  *Links // nil unless Config.Apart
}

// New makes a cluster, none of whose nodes runs. Close must be called in the end.
func New(config Config) (*Cluster, error) {
	if config.Program == "" || config.Dir == "" || config.Nodes < 0 {
		return nil, fmt.Errorf("nodes: Config: want Program, Dir and Nodes of at least 0, have %+v", config)
	}
	c := &Cluster{config: config, secret: []byte(rand.Text() + rand.Text())}
	err := errors.Join(
		os.WriteFile(c.SecretFile(), c.secret, 0o600),
		os.WriteFile(c.AdminTokenFile(), []byte(rand.Text()+"\n"), 0o600))
	if err != nil {
		return nil, err
	}
	if config.Apart {
		if c.links, err = newLinks(); err != nil {
			return nil, err
		}
	}
	for range max(config.Nodes, 1) {
		if _, err := c.Add(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// SecretFile returns the file with the secret that signs users' tokens.
func (c *Cluster) SecretFile() string { return filepath.Join(c.config.Dir, "auth.secret") }

// AdminTokenFile returns the file with the token of administrators.
func (c *Cluster) AdminTokenFile() string { return filepath.Join(c.config.Dir, "admin.tokens") }

// Nodes returns all nodes in the order in which they were added.
func (c *Cluster) Nodes() []*Node { return c.nodes }

// Links returns the links between nodes; nil unless Config.Apart is set.
func (c *Cluster) Links() *Links { return c.links }

// Add adds a node, which does not run, and has the flags of a cluster if Config.Nodes
// is more than 1. Those that run are not told.
func (c *Cluster) Add() (*Node, error) {
	n := &Node{cluster: c, Number: len(c.nodes), Clustered: c.config.Nodes > 1}
	n.Name = fmt.Sprintf("n%d", n.Number+1)
	dir := filepath.Join(c.config.Dir, n.Name)
	n.Data = filepath.Join(dir, "data")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if n.log, err = os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644); err != nil {
		return nil, err
	}
	c.nodes = append(c.nodes, n)
	if c.links != nil {
		return n, c.links.add(n)
	}
	for _, address := range []*string{&n.listen, &n.admin, &n.peer} {
		if *address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Start starts all nodes and waits until each serves.
func (c *Cluster) Start(ctx context.Context) error {
	for _, n := range c.nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return c.AwaitReady(ctx)
}

// AwaitReady waits until all nodes that run serve.
func (c *Cluster) AwaitReady(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range c.nodes {
		if n.Running() {
			g.Go(func() error { return n.AwaitReady(ctx) })
		}
	}
	return g.Wait()
}

// Stop ends all nodes that run, as SIGTERM does, and waits for their ends. An error
// tells of those that did not end in time or not with 0.
func (c *Cluster) Stop() error {
	var g errgroup.Group
	for _, n := range c.nodes {
		if n.Running() {
			g.Go(n.Stop)
		}
	}
	return g.Wait()
}

// Close kills all nodes. Their files stay.
func (c *Cluster) Close() error {
	var errs []error
	for _, n := range c.nodes {
		n.Kill()
		errs = append(errs, n.log.Close())
	}
	if c.links != nil {
		errs = append(errs, c.links.close())
	}
	return errors.Join(errs...)
}

// URLs returns the addresses for clients, one for each node.
func (c *Cluster) URLs() (urls []string) {
	for _, n := range c.nodes {
		urls = append(urls, n.URL())
	}
	return urls
}

// PIDs returns the processes of the nodes that run.
func (c *Cluster) PIDs() (pids []int) {
	for _, n := range c.nodes {
		if pid := n.PID(); pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Token returns a token of user. It is safe for concurrent use.
func (c *Cluster) Token(user string) (string, error) {
	claims := jwt.RegisteredClaims{Subject: user, ExpiresAt: jwt.NewNumericDate(time.Now().Add(tokenTTL))}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(c.secret)
}

// peers returns the addresses of the other nodes for a node to join.
func (c *Cluster) peers(of *Node) string {
	var list []string
	for _, n := range c.nodes {
		if n != of {
			list = append(list, n.peer)
		}
	}
	return strings.Join(list, ",")
}

// Ports of nodes lie below those that the system gives to outgoing connections:
// one of these could have the port of a node that is down.
const firstPort, lastPort = 15000, 32000

// freeAddress returns an address of loopback that nobody listens on.
func freeAddress() (string, error) {
	var last error
	for range 100 {
		var b [2]byte
		rand.Read(b[:])
		port := firstPort + (int(b[0])<<8|int(b[1]))%(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if last = err; err != nil {
			continue
		}
		return l.Addr().String(), l.Close()
	}
	return "", last
}
