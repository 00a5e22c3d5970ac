package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/belfry-im/belfry/raftstore/link"
	"github.com/belfry-im/belfry/raftstore/node"
	"github.com/belfry-im/belfry/raftstore/placement"
)

// clusterFlags parses arguments as serve does, and checks them.
func clusterFlags(args ...string) (*clusterOptions, error) {
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	var o clusterOptions
	fs.String("node", "node", "")
	o.bind(fs)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	return &o, o.check(fs.Changed)
}

func TestClusterFlags(t *testing.T) {
	both := placement.RoleGateway | placement.RoleStore
	for _, test := range []struct {
		args []string
		want *node.Config
	}{
		{nil, nil},
		{[]string{"--node=a"}, nil},
		{
			[]string{"--node=a", "--cluster-listen=127.0.0.1:7946", "--bootstrap-expect=1"},
			&node.Config{Listen: "127.0.0.1:7946", Advertise: "127.0.0.1:7946", Expect: 1, Roles: both},
		},
		{
			[]string{"--node=a", "--cluster-listen=:7946", "--cluster-advertise=a.example:7946", "--cluster-tls-cert=c", "--cluster-tls-key=k", "--cluster-tls-ca=ca", "--join=b.example:7946,c.example:7946", "--auto-admit", "--wan", "--roles=gateway"},
			&node.Config{
				Listen: ":7946", Advertise: "a.example:7946", TLS: &link.TLSFiles{Cert: "c", Key: "k", CA: "ca"},
				Join: []string{"b.example:7946", "c.example:7946"}, AutoAdmit: true, WAN: true, Roles: placement.RoleGateway,
			},
		},
		{
			[]string{"--node=a", "--cluster-listen=10.0.0.1:7946", "--insecure-cluster", "--join=10.0.0.2:7946"},
			&node.Config{Listen: "10.0.0.1:7946", Advertise: "10.0.0.1:7946", Insecure: true, Join: []string{"10.0.0.2:7946"}, Roles: both},
		},
	} {
		o, err := clusterFlags(test.args...)
		if err != nil {
			t.Errorf("%v: %v", test.args, err)
			continue
		}
		if got := o.config(); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%v = %+v, want %+v", test.args, got, test.want)
		}
	}
}

func TestClusterFlagRefusals(t *testing.T) {
	good := []string{"--node=a", "--cluster-listen=127.0.0.1:7946"}
	for _, test := range []struct {
		args []string
		want string // of the error
	}{
		{[]string{"--join=x:1"}, "--join: want --cluster-listen"},
		{[]string{"--bootstrap-expect=3"}, "--bootstrap-expect: want --cluster-listen"},
		{[]string{"--roles=store"}, "--roles: want --cluster-listen"},
		{[]string{"--insecure-cluster"}, "--insecure-cluster: want --cluster-listen"},
		{[]string{"--node=a", "--cluster-listen=7946"}, "--cluster-listen: want host:port"},
		{[]string{"--cluster-listen=127.0.0.1:7946"}, "want --node"},
		{[]string{"--node=a", "--cluster-listen=:7946", "--insecure-cluster"}, "want --cluster-advertise"},
		{[]string{"--node=a", "--cluster-listen=127.0.0.1:0"}, "want --cluster-advertise"},
		{slices.Concat(good, []string{"--cluster-advertise=0.0.0.0:7946"}), "--cluster-advertise: want host:port"},
		{slices.Concat(good, []string{"--join=b"}), "--join: want host:port"},
		{slices.Concat(good, []string{"--roles=voter"}), "--roles: \"voter\" is not a role"},
		{slices.Concat(good, []string{"--cluster-tls-cert=c"}), "want all three or none"},
		{slices.Concat(good, []string{"--cluster-tls-cert=c", "--cluster-tls-key=k", "--cluster-tls-ca=a", "--insecure-cluster"}), "--insecure-cluster: want no"},
		{[]string{"--node=a", "--cluster-listen=10.0.0.1:7946"}, "--cluster-listen 10.0.0.1:7946: want --cluster-tls-cert"},
		{slices.Concat(good, []string{"--bootstrap-expect=3", "--roles=gateway"}), "--bootstrap-expect: want --roles with store"},
		{slices.Concat(good, []string{"--bootstrap-expect=6"}), "from 0 to 5"},
	} {
		if _, err := clusterFlags(test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v, want %q", test.args, err, test.want)
		}
	}
}
