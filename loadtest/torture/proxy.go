//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// A proxy stands between the clients and the server. A link that it stalls still
// looks alive to the server: only the client's side is closed.
type proxy struct {
	listener net.Listener
	target   func() string // host:port of the server
	loops    sync.WaitGroup

	mu     sync.Mutex
	links  []*link // in the order of their begin
	closed bool
}

// A link is one connection of a client, and the one to the server behind it.
type link struct {
	client, server net.Conn
	done           chan struct{} // closed with the server's side
	once           sync.Once

	mu    sync.Mutex
	stall kind // "" = none
}

func newProxy(target func() string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, target: target}
	p.loops.Go(p.accept)
	return p, nil
}

func (p *proxy) url() string { return "ws://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.loops.Go(func() { p.serve(conn) })
	}
}

const dialTimeout = 5 * time.Second

func (p *proxy) serve(client net.Conn) {
	server, err := net.DialTimeout("tcp", p.target(), dialTimeout)
	if err != nil {
		client.Close()
		return
	}
	l := &link{client: client, server: server, done: make(chan struct{})}
	p.mu.Lock()
	if p.closed {
		l.drop()
	}
	p.links = append(p.links, l)
	p.mu.Unlock()
	var up sync.WaitGroup
	up.Go(l.up)
	l.down()
	up.Wait()
	l.drop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.links {
		if p.links[i] == l {
			p.links = append(p.links[:i], p.links[i+1:]...)
			break
		}
	}
}

func (l *link) stalled() kind {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stall
}

// up carries what the client sends, and discards it once the peer is to be mute
// or to have vanished.
func (l *link) up() {
	buf := make([]byte, 32<<10)
	for {
		n, err := l.client.Read(buf)
		stall := l.stalled()
		if err != nil {
			if stall == "" {
				l.drop()
			}
			return
		}
		if stall == kindMute || stall == kindHalfOpen {
			continue
		}
		if _, err := l.server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// down carries what the server sends. For a peer that is to be deaf or to have
// vanished it reads no more, so that the system's buffers fill.
func (l *link) down() {
	buf := make([]byte, 32<<10)
	for {
		n, err := l.server.Read(buf)
		stall := l.stalled()
		if stall == kindDeaf || stall == kindHalfOpen {
			<-l.done
			return
		}
		if err != nil {
			l.drop()
			return
		}
		if _, err := l.client.Write(buf[:n]); err != nil && stall == "" {
			l.drop()
			return
		}
	}
}

// drop closes both sides without a closing handshake.
func (l *link) drop() {
	l.once.Do(func() {
		close(l.done)
		l.server.Close()
		l.client.Close()
	})
}

// stall stalls up to n links that work, and returns how many. abandon closes
// their clients' side and leaves the server with its connections.
func (p *proxy) stall(rng *rand.Rand, n int, how kind) (abandon func(), stalled int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var chosen []*link
	for _, i := range rng.Perm(len(p.links)) {
		l := p.links[i]
		l.mu.Lock()
		if l.stall == "" && len(chosen) < n {
			l.stall = how
			chosen = append(chosen, l)
		}
		l.mu.Unlock()
	}
	return func() {
		for _, l := range chosen {
			l.client.Close()
		}
	}, len(chosen)
}

// cut drops all links that are not stalled, and returns how many.
func (p *proxy) cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, l := range p.links {
		if l.stalled() == "" {
			l.drop()
			n++
		}
	}
	return n
}

// dropStalled drops the links that are stalled, which the server still has.
func (p *proxy) dropStalled() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		if l.stalled() != "" {
			l.drop()
		}
	}
}

func (p *proxy) close() error {
	p.mu.Lock()
	p.closed = true
	for _, l := range p.links {
		l.drop()
	}
	p.mu.Unlock()
	if err := p.listener.Close(); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	p.loops.Wait()
	return nil
}
