//go:build !linux

package nodes

import (
	"errors"
	"os/exec"
)

// Links are those between the nodes of a cluster. They need Linux.
type Links struct{}

var errNoNamespaces = errors.New("nodes: Config.Apart: want Linux, which has network namespaces")

func newLinks() (*Links, error)             { return nil, errNoNamespaces }
func (*Links) add(*Node) error              { return errNoNamespaces }
func (*Links) start(*Node, *exec.Cmd) error { return errNoNamespaces }
func (*Links) watch(*Node, *process)        {}
func (*Links) refuse(*Node)                 {}
func (*Links) close() error                 { return nil }
