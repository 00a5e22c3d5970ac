package main

import (
	"errors"
	"net"
	"slices"

	"github.com/spf13/pflag"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/raftstore/link"
	"github.com/belfry-im/belfry/raftstore/node"
	"github.com/belfry-im/belfry/raftstore/placement"
)

// clusterOptions holds the flags of serve for several nodes.
type clusterOptions struct {
	listen, advertise      string
	tlsCert, tlsKey, tlsCA string
	insecure               bool
	join                   []string
	expect                 int
	autoAdmit              bool
	roles                  string
	wan                    bool
}

const (
	bothRoles   = "gateway,store"
	flagListen  = "cluster-listen"
	flagJoin    = "join"
	flagExpect  = "bootstrap-expect"
	flagRoles   = "roles"
	maxFounders = placement.MaxFounders
)

// bind declares the flags on fs, with their defaults.
func (o *clusterOptions) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.listen, flagListen, "", "address for the other nodes of a cluster; without it the node stands alone")
	fs.StringVar(&o.advertise, "cluster-advertise", "", "host:port at which they reach it; as --cluster-listen, unless that is for all addresses")
	fs.StringVar(&o.tlsCert, "cluster-tls-cert", "", "PEM file with this node's certificate chain, which names the node: a URI belfry://CLUSTER/NODE or a DNS name")
	fs.StringVar(&o.tlsKey, "cluster-tls-key", "", "PEM file with its key")
	fs.StringVar(&o.tlsCA, "cluster-tls-ca", "", "PEM file with the CA certificates that sign those of all nodes")
	fs.BoolVar(&o.insecure, "insecure-cluster", false, "let nodes on other machines connect without TLS: whoever reaches the port is trusted, and messages cross the network in the clear")
	fs.StringSliceVar(&o.join, flagJoin, nil, "addresses of nodes of the cluster, or of all that begin one")
	fs.Var(cli.Count(&o.expect, 0, maxFounders), flagExpect, "how many new nodes begin a cluster together, each started with this and with --join; 0 = this one joins one")
	fs.BoolVar(&o.autoAdmit, "auto-admit", false, "admit nodes that ask this one to join, without belfry cluster admit")
	fs.StringVar(&o.roles, flagRoles, bothRoles, "what the node does: gateway for clients, store for replicas of shards")
	fs.BoolVar(&o.wan, "wan", false, "nodes are far from each other: longer time-outs")
}

// check returns an error for flags that contradict each other. changed reports whether
// a flag was given.
func (o *clusterOptions) check(changed func(flag string) bool) error {
	if o.listen == "" {
		for _, flag := range []string{"cluster-advertise", "cluster-tls-cert", "cluster-tls-key", "cluster-tls-ca", "insecure-cluster", flagJoin, flagExpect, "auto-admit", flagRoles, "wan"} {
			if changed(flag) {
				return cli.Usagef("--%s: want --%s with it", flag, flagListen)
			}
		}
		return nil
	}
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return cli.Usagef("--%s: want host:port or :port: %w", flagListen, err)
	}
	if err := placement.CheckAddress("cluster-advertise", o.address()); err != nil {
		if o.advertise == "" {
			return cli.Usagef("--%s %s: want --cluster-advertise with the host:port at which other nodes reach this one", flagListen, o.listen)
		}
		return cli.Usagef("--cluster-advertise: want host:port: %s", ruleOf(err))
	}
	for _, address := range o.join {
		if err := placement.CheckAddress(flagJoin, address); err != nil {
			return cli.Usagef("--%s: want host:port: %s", flagJoin, ruleOf(err))
		}
	}
	roles, err := placement.ParseRoles(o.roles)
	files := []string{o.tlsCert, o.tlsKey, o.tlsCA}
	switch {
	case err != nil:
		return cli.Usagef("--%w", err)
	case !changed("node"):
		return cli.Usagef("--%s: want --node with it: a name that no other node of the cluster has", flagListen)
	case slices.Contains(files, "") && slices.ContainsFunc(files, func(f string) bool { return f != "" }):
		return cli.Usagef("--cluster-tls-cert, --cluster-tls-key, --cluster-tls-ca: want all three or none")
	case o.tlsCA != "" && o.insecure:
		return cli.Usagef("--insecure-cluster: want no --cluster-tls-cert with it")
	case o.tlsCA == "" && !o.insecure && !isLoopback(host):
		return cli.Usagef("--%s %s: want --cluster-tls-cert, --cluster-tls-key and --cluster-tls-ca, or a loopback address: whoever reaches the port could pass for a node (or --insecure-cluster)", flagListen, o.listen)
	case o.expect > 0 && !roles.Has(placement.RoleStore):
		return cli.Usagef("--%s: want --%s with store: nodes that begin a cluster hold its data", flagExpect, flagRoles)
	}
	return nil
}

// ruleOf returns what a refusal of placement says, without the name of its field.
func ruleOf(err error) string {
	if refusal, ok := errors.AsType[*placement.Refusal](err); ok {
		return refusal.Rule
	}
	return err.Error()
}

// address returns where other nodes reach this one.
func (o *clusterOptions) address() string {
	if o.advertise != "" {
		return o.advertise
	}
	return o.listen
}

// config returns what the flags say for the store, nil for a node that stands alone.
func (o *clusterOptions) config() *node.Config {
	if o.listen == "" {
		return nil
	}
	roles, err := placement.ParseRoles(o.roles)
	if err != nil {
		panic(err) // check has refused it
	}
	c := &node.Config{
		Listen: o.listen, Advertise: o.address(), Insecure: o.insecure,
		Join: o.join, Expect: o.expect, AutoAdmit: o.autoAdmit, Roles: roles, WAN: o.wan,
	}
	if o.tlsCA != "" {
		c.TLS = &link.TLSFiles{Cert: o.tlsCert, Key: o.tlsKey, CA: o.tlsCA}
	}
	return c
}
