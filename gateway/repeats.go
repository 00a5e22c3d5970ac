package gateway

import "github.com/belfry-im/belfry/shard"

// keptUses is how many requests back a repeat is known, about what the shard
// keeps answers of.
const keptUses = 16

// repeats tells a repeat of a changing request from another one that uses its
// id anew, as a client may once it has its answer. It is owned by the read loop;
// a session that changes nothing but by sending has none.
type repeats struct {
	uses  [keptUses]use // in a circle
	last  int           // the request being handled
	fresh uint64        // requests that were no repeat
}

// A use of an id. content is 0 for a request that changes nothing, or for a send,
// whose repeat is known by its cid.
type use struct {
	id      uint64
	content uint64
	request shard.Request
}

// begin notes the next request.
func (p *repeats) begin(id uint64) {
	p.last = (p.last + 1) % keptUses
	p.uses[p.last] = use{id: id}
}

// identity gives what the shard is to know the present request by: what it knew
// the last one of its id by if that asked for the same, else something new.
func (p *repeats) identity(content uint64) shard.Request {
	now := &p.uses[p.last]
	now.content = content
	for back := 1; back < keptUses; back++ {
		before := &p.uses[(p.last-back+keptUses)%keptUses]
		if before.id != now.id {
			continue
		}
		if before.content == content {
			now.request = before.request
			return now.request
		}
		break
	}
	p.fresh++
	const oddFraction = 0x9e3779b97f4a7c15 // spreads the counter over all bits
	now.request = shard.Request{ID: now.id, Hash: content ^ p.fresh*oddFraction}
	return now.request
}
