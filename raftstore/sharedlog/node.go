package sharedlog

import "sync"

// A Node is the log of a node, which is opened when a group is first asked for, and again
// after it has failed: once, however many groups come back.
type Node struct {
	cfg Config

	mu     sync.Mutex
	log    *Log // nil: it is not open
	closed bool
	opened int
}

// NewNode returns a node whose log is not open yet.
func NewNode(cfg Config) *Node { return &Node{cfg: cfg} }

// open returns the log. n.mu is held.
func (n *Node) open() (*Log, error) {
	if n.closed {
		return nil, ErrClosed
	}
	if n.log != nil {
		if n.log.Err() == nil {
			return n.log, nil
		}
		err := n.log.Close()
		n.log = nil
		if err != nil {
			return nil, err
		}
	}
	log, err := Open(n.cfg)
	if err != nil {
		return nil, err
	}
	n.log = log
	n.opened++
	return log, nil
}

// Group is Log.Group of the log, once it is open.
func (n *Node) Group(name string, user User) (*Group, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	log, err := n.open()
	if err != nil {
		return nil, err
	}
	return log.Group(name, user)
}

// Has is Log.Has of the log, once it is open.
func (n *Node) Has(name string) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	log, err := n.open()
	if err != nil {
		return false, err
	}
	return log.Has(name), nil
}

// Drop is Log.Drop of the log, once it is open.
func (n *Node) Drop(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	log, err := n.open()
	if err != nil {
		return err
	}
	return log.Drop(name)
}

// Opened returns how often the log was opened.
func (n *Node) Opened() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.opened
}

// Close closes the log for good.
func (n *Node) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if n.log == nil {
		return nil
	}
	failed := n.log.Err() != nil
	err := n.log.Close()
	n.log = nil
	if failed { // what a file says that failed is known already
		err = nil
	}
	return err
}
