//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

// A receiver takes webhooks, and fails in every way now and then. It acknowledges
// an event once take has returned.
type receiver struct {
	address string
	fail    func(error)

	mu     sync.Mutex
	server *http.Server // nil while it is away
	fault  string       // how it fails; "" = not at all
	take   func(user, conv string, m *queuedMessage) error
}

// A queuedMessage is the message of a message.queued.
type queuedMessage struct {
	ID, From, CID string
	Seq           uint64
	Body          json.RawMessage
	hookID        string // webhook-id
}

func newReceiver(fail func(error)) (*receiver, error) {
	r := &receiver{address: "127.0.0.1:0", fail: fail}
	return r, r.setFault("")
}

func (r *receiver) url() string { return "http://" + r.address + "/" }

// setFault changes how the receiver fails from now on.
func (r *receiver) setFault(fault string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = fault
	switch {
	case fault == "away" && r.server != nil:
		r.server.Close()
		r.server = nil
	case fault != "away" && r.server == nil:
		listener, err := net.Listen("tcp", r.address)
		if err != nil {
			return fmt.Errorf("webhook's receiver: %w", err)
		}
		r.address = listener.Addr().String()
		r.server = &http.Server{Handler: r}
		go r.server.Serve(listener)
	}
	return nil
}

// passTo makes the receiver pass events to take from now on.
func (r *receiver) passTo(take func(user, conv string, m *queuedMessage) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.take = take
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the server was killed
	}
	id := req.Header.Get("webhook-id")
	r.mu.Lock()
	fault, take := r.fault, r.take
	r.mu.Unlock()
	switch fault {
	case "hang":
		<-req.Context().Done()
	case "error":
		w.WriteHeader(http.StatusInternalServerError)
	case "late": // it takes the event, and the answer is lost
		r.event(id, body, take)
		panic(http.ErrAbortHandler)
	default:
		r.event(id, body, take)
	}
}

func (r *receiver) event(id string, body []byte, take func(user, conv string, m *queuedMessage) error) {
	var event struct {
		Type string
		Data struct {
			User, Conv string
			Message    queuedMessage
		}
	}
	if err := json.Unmarshal(body, &event); err != nil {
		r.fail(fmt.Errorf("webhook %s: %w", body, err))
		return
	}
	if event.Type != "message.queued" || take == nil {
		return
	}
	event.Data.Message.hookID = id
	if err := take(event.Data.User, event.Data.Conv, &event.Data.Message); err != nil {
		r.fail(err)
	}
}

// misbehave makes the receiver fail and recover until ctx ends; then it is well.
func (r *receiver) misbehave(ctx context.Context, rng *rand.Rand) {
	faults := []string{"", "hang", "", "error", "", "late", "", "away"}
	for ctx.Err() == nil {
		if err := r.setFault(faults[rng.IntN(len(faults))]); err != nil {
			r.fail(err)
		}
		sleep(ctx, time.Duration(200+rng.IntN(1500))*time.Millisecond)
	}
	if err := r.setFault(""); err != nil {
		r.fail(err)
	}
}
