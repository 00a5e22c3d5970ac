// Package hookstest provides a receiver of events for tests.
package hookstest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/gateway/webhook"
)

// A Receiver answers questions as the test says, and records events.
type Receiver struct {
	Events  map[string]bool // those that it wants; nil: all
	Timeout time.Duration
	Answer  func(ctx context.Context, cid string) (string, error) // answers questions; nil: accepts all

	mu     sync.Mutex
	asked  []string // data of the questions, in order
	told   []string // "type data" of the events, in order
	IDs    []string // ids of the events; to be read when no more come
	Orders []uint64 // orders of the events, likewise
	open   int      // questions that are open
	most   int
}

func (r *Receiver) Wants(event string) bool {
	return r.Events == nil || r.Events[event]
}

func (r *Receiver) Emit(e webhook.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, e.Type+" "+string(e.Data))
	r.IDs = append(r.IDs, e.ID)
	r.Orders = append(r.Orders, e.Order)
}

func (r *Receiver) Deliver(e webhook.Event, read func(*webhook.Event) error, done func(bool)) {
	if err := read(&e); err == nil {
		r.Emit(e)
	} else {
		r.Emit(webhook.Event{Type: err.Error()})
	}
	done(true)
}

func (r *Receiver) Dropped(event, reason string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprintf("dropped %s %s %d", event, reason, n))
}

func (r *Receiver) AskTimeout() time.Duration { return r.Timeout }

func (r *Receiver) Ask(ctx context.Context, _ string, e webhook.Event) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, webhook.ErrBusy
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.Timeout)
	defer cancel()
	var data struct{ CID string }
	if err := json.Unmarshal(e.Data, &data); err != nil || e.Type != webhook.MessageBeforeSend {
		panic(fmt.Sprintf("%s %s: %v", e.Type, e.Data, err))
	}
	r.mu.Lock()
	r.asked = append(r.asked, string(e.Data))
	r.open++
	r.most = max(r.most, r.open)
	r.mu.Unlock()
	defer func() { r.mu.Lock(); defer r.mu.Unlock(); r.open-- }()
	if r.Answer == nil {
		return []byte(`{"decision":"accept"}`), nil
	}
	answer, err := r.Answer(ctx, data.CID)
	return []byte(answer), err
}

// Asks returns how many questions it was asked.
func (r *Receiver) Asks() int { r.mu.Lock(); defer r.mu.Unlock(); return len(r.asked) }

// Asked returns the data of all questions, in order.
func (r *Receiver) Asked() []string { r.mu.Lock(); defer r.mu.Unlock(); return slices.Clone(r.asked) }

// Most returns the largest number of questions that were open at a time.
func (r *Receiver) Most() int { r.mu.Lock(); defer r.mu.Unlock(); return r.most }

// List returns "type data" of all events, in order.
func (r *Receiver) List() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.told...)
}
