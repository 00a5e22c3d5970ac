package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/coder/websocket"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// An Obj is a map of a frame. Numbers are json.Number.
type Obj = map[string]any

// A Frame went over a connection, or tried to.
type Frame struct {
	Conn       int  // connections count from 1
	FromClient bool // else from the server
	ID         int64
	Op         string // of a reply: that of its request
	Reply      bool
	Body       Obj    // args of a request, notice or push; ok of a reply
	Code       string // of a reply that refuses

	request *Frame // of a reply
}

func (f *Frame) String() string {
	b, _ := json.Marshal(f.Body)
	arrow := "←"
	if f.FromClient {
		arrow = "→"
	}
	return fmt.Sprintf("#%d %s %d %s %s %.300s", f.Conn, arrow, f.ID, f.Op, f.Code, b)
}

// An Action is what a Proxy does with a frame.
type Action int

const (
	Pass Action = iota
	Drop        // as if it had never been sent
	Cut         // drops it and all that follows: both sides' connections break
)

// A Proxy is one device's way to the server. Its methods may be called from any goroutine.
type Proxy struct {
	target   func() string // the server's WebSocket
	listener net.Listener
	http     http.Server
	served   sync.WaitGroup

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced when anything below changes
	frames    []*Frame
	links     map[int]*link
	made      int
	refuse    bool
	intercept func(*Frame) Action
	rewrite   func(*Frame) bool
	checker   checker
}

// A link is one connection in both its parts.
type link struct {
	number  int
	cut     context.CancelFunc
	pending map[int64]*Frame // requests without a reply
}

// NewProxy listens on a free port of 127.0.0.1. target is asked for each connection.
func NewProxy(target func() string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, listener: l, changed: make(chan struct{}), links: make(map[int]*link)}
	p.checker.reset()
	p.http.Handler = http.HandlerFunc(p.serve)
	p.served.Go(func() { p.http.Serve(l) })
	return p, nil
}

// Close ends all connections.
func (p *Proxy) Close() {
	p.Refuse(true)
	p.Cut()
	p.http.Close()
	p.served.Wait()
}

// URL is what the SDK is given as its server.
func (p *Proxy) URL() string { return "ws://" + p.listener.Addr().String() + "/v1/ws" }

// Refuse has new connections fail, or no longer.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = on
}

// Cut breaks all connections, without a close frame.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		l.cut()
	}
}

// Intercept asks f for each frame from now on; nil passes all.
func (p *Proxy) Intercept(f func(*Frame) Action) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.intercept = f
}

// Rewrite lets f change the body of each frame of a client from now on; it reports
// whether it did. For JSON alone.
func (p *Proxy) Rewrite(f func(*Frame) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rewrite = f
}

// Frames returns those that match, in order, and those only that came after the first skip
// frames of all.
func (p *Proxy) Frames(skip int, match func(*Frame) bool) []*Frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []*Frame
	for _, f := range p.frames[skip:] {
		if match(f) {
			list = append(list, f)
		}
	}
	return list
}

// Len is the number of frames so far.
func (p *Proxy) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.frames)
}

// Connections is the number of connections that were ever made.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made
}

// Violations are the rules of the protocol and of the SDKs that were broken on the wire.
func (p *Proxy) Violations() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.checker.violations)
}

// Storeless turns off the rules that are about what the device has stored.
func (p *Proxy) Storeless() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checker.storeless = true
}

// Forget has the device hold nothing, as after a reset or with another store.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checker.reset()
}

// Await waits until is returns true; it is asked whenever a frame has come.
func (p *Proxy) Await(ctx context.Context, is func() bool) error {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if is() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tell wakes those who wait. The caller holds mu.
func (p *Proxy) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	refused := p.refuse
	p.mu.Unlock()
	if refused {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	ctx, cut := context.WithCancel(context.Background())
	defer cut()
	var offered []string
	for _, name := range strings.Split(r.Header.Get("Sec-WebSocket-Protocol"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			offered = append(offered, name)
		}
	}
	server, _, err := websocket.Dial(ctx, p.target(), &websocket.DialOptions{Subprotocols: offered, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer server.CloseNow()
	o := &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled}
	if chosen := server.Subprotocol(); chosen != "" {
		o.Subprotocols = []string{chosen}
	}
	client, err := websocket.Accept(w, r, o)
	if err != nil {
		return
	}
	defer client.CloseNow()
	server.SetReadLimit(-1)
	client.SetReadLimit(-1)

	p.mu.Lock()
	p.made++
	l := &link{number: p.made, cut: cut, pending: make(map[int64]*Frame)}
	p.links[l.number] = l
	p.checker.connected(l.number)
	p.tell()
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.links, l.number)
		p.checker.disconnected(l.number)
		p.tell()
		p.mu.Unlock()
	}()

	var pumps sync.WaitGroup
	pumps.Go(func() { p.pump(ctx, l, client, server, true) })
	pumps.Go(func() { p.pump(ctx, l, server, client, false) })
	pumps.Wait()
}

// pump carries frames one way until either side ends. A close frame goes on to the other.
func (p *Proxy) pump(ctx context.Context, l *link, from, to *websocket.Conn, fromClient bool) {
	defer l.cut()
	for {
		kind, data, err := from.Read(ctx)
		if closed, ok := errors.AsType[websocket.CloseError](err); ok {
			to.Close(closed.Code, closed.Reason)
			return
		}
		if err != nil {
			return
		}
		data, action := p.see(l, fromClient, kind == websocket.MessageBinary, data)
		switch action {
		case Drop:
			continue
		case Cut:
			return
		}
		if err := to.Write(ctx, kind, data); err != nil {
			return
		}
	}
}

// see notes a frame and decides what becomes of it.
func (p *Proxy) see(l *link, fromClient, binary bool, data []byte) ([]byte, Action) {
	f, err := parse(fromClient, binary, data)
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.tell()
	if err != nil {
		p.checker.violate("a frame that is none: %v: %.200q", err, data)
		return data, Pass
	}
	f.Conn = l.number
	if f.Reply {
		f.request = l.pending[f.ID]
		delete(l.pending, f.ID)
		if f.request != nil {
			f.Op = f.request.Op
		}
	}
	if p.rewrite != nil && fromClient && !binary && p.rewrite(f) {
		changed := Obj{"op": f.Op, "args": f.Body}
		if f.ID != 0 {
			changed["id"] = f.ID
		}
		data, _ = json.Marshal(changed)
	}
	action := Pass
	if p.intercept != nil {
		action = p.intercept(f)
	}
	p.frames = append(p.frames, f)
	if action != Pass {
		return data, action
	}
	if fromClient && f.ID != 0 {
		if _, busy := l.pending[f.ID]; busy {
			p.checker.violate("the id %d is used by two requests in flight: %v", f.ID, f)
		}
		l.pending[f.ID] = f
	}
	p.checker.see(f)
	return data, Pass
}

func parse(fromClient, binary bool, data []byte) (*Frame, error) {
	codec := protocol.JSON
	if binary {
		codec = protocol.Msgpack
	}
	// The server's own decoder says whether it is a frame at all.
	var err error
	if fromClient {
		_, err = protocol.DecodeRequest(codec, data)
	} else {
		_, err = protocol.DecodeServerFrame(codec, data)
	}
	if err != nil {
		return nil, err
	}
	var m Obj
	if binary {
		var v Obj
		if err := msgpack.Unmarshal(data, &v); err != nil {
			return nil, err
		}
		if data, err = json.Marshal(v); err != nil { // binary becomes base64, which nothing here looks at
			return nil, err
		}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		return nil, err
	}
	f := &Frame{FromClient: fromClient, ID: Int(m["id"])}
	f.Op, _ = m["op"].(string)
	f.Body, _ = m["args"].(Obj)
	if !fromClient && f.ID != 0 {
		f.Reply = true
		f.Body, _ = m["ok"].(Obj)
		refusal, _ := m["err"].(Obj)
		f.Code, _ = refusal["code"].(string)
	}
	return f, nil
}

// Int returns a number of a frame, 0 if it is none.
func Int(v any) int64 {
	n, _ := v.(json.Number)
	i, _ := n.Int64()
	return i
}
