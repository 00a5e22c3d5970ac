package store

import "github.com/belfry-im/belfry/gateway/protocol"

// An Outgoing is a message that the server has not answered yet.
type Outgoing struct {
	N        uint64 // its place; ascending
	Conv     protocol.Conv
	CID      string
	Body     []byte // canonical msgpack
	TTL      uint32 // s; 0 = none
	Mentions []string
	Queued   int64 // when Send was called, by our clock; ms
}

// AddOutgoing puts a message into the outbox, at the place that it names.
func (t *Tx) AddOutgoing(o *Outgoing) { t.set(numberKey(keyOutgoing, o.N), o) }

// DropOutgoing takes a message out of the outbox.
func (t *Tx) DropOutgoing(n uint64) { t.kv.Delete(numberKey(keyOutgoing, n)) }

// Outgoing lists the outbox in order.
func (t *Tx) Outgoing() (list []Outgoing) {
	for k, v := range t.kv.Scan([]byte{keyOutgoing}, []byte{keyOutgoing + 1}, false) {
		o := Outgoing{N: lastNumber(k)}
		t.decode(v, &o)
		list = append(list, o)
	}
	return list
}

// AddDelivery notes that messages are to be passed to the application, and returns the
// number of that delivery.
func (t *Tx) AddDelivery(refs []Ref) uint64 {
	n := t.next("deliveries")
	t.set(numberKey(keyDelivery, n), &delivery{refs})
	return n
}

// DropDeliveries forgets deliveries up to one that has been handled.
func (t *Tx) DropDeliveries(handled uint64) {
	var keys [][]byte
	for k := range t.kv.Scan(numberKey(keyDelivery, 0), numberKey(keyDelivery, handled+1), false) {
		keys = append(keys, append([]byte{}, k...))
	}
	for _, k := range keys {
		t.kv.Delete(k)
	}
}

// A Delivery is a list of messages that an earlier process has not passed to its
// application, or has not seen the end of.
type Delivery struct {
	N        uint64
	Messages []protocol.Message // those that are still there
	// Begun says that the handler was called, and may have done its work.
	Begun bool
}

// Deliveries lists what remains to be handled. Marks of another life of the store, which
// lie beyond the last delivery, count as none.
func (t *Tx) Deliveries(marks [Marks]uint64) (list []Delivery) {
	var last number
	t.name("deliveries", &last)
	begun, handled := marks[MarkBegun], marks[MarkHandled]
	if max(begun, handled) > uint64(last) {
		begun, handled = 0, 0
	}
	for k, v := range t.kv.Scan(numberKey(keyDelivery, handled+1), []byte{keyDelivery + 1}, false) {
		var stored delivery
		if t.decode(v, &stored); t.err != nil {
			return nil
		}
		d := Delivery{N: lastNumber(k), Begun: lastNumber(k) <= begun}
		for _, ref := range stored.refs {
			t.messages(ref.Conv, ref.From, ref.To, false, func(r *record) bool {
				d.Messages = append(d.Messages, r.Message)
				return true
			})
		}
		list = append(list, d)
	}
	return list
}
