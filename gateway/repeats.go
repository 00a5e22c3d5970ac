package gateway

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
)

// keptRequests is how many changing requests are remembered, to recognize repeats. The
// shard remembers the answers of as many.
const keptRequests = 16

// repeats recognizes repeats of changing requests. A client may reuse an id for another
// request once it has the answer, so the content is compared too. The read loop owns it;
// a session that only sends has none.
type repeats struct {
	known []knownRequest // the last ones, oldest first
	fresh uint64         // number of requests that were not repeats
}

type knownRequest struct {
	id      uint64
	content uint64 // hash of its content
	request command.Request
}

// identity returns the identity of a changing request, for the shard. A repeat (the same
// id and content as a remembered request) gets the identity of the first.
func (p *repeats) identity(id, content uint64) command.Request {
	if i := p.find(id); i >= 0 && p.known[i].content == content {
		return p.known[i].request
	}
	p.used(id)
	if len(p.known) == keptRequests {
		p.known = slices.Delete(p.known, 0, 1)
	}
	p.fresh++
	const oddFraction = 0x9e3779b97f4a7c15 // spreads the counter over all bits of the hash
	r := command.Request{ID: id, Hash: content ^ p.fresh*oddFraction}
	p.known = append(p.known, knownRequest{id, content, r})
	return r
}

// used notes that a new request has an id. An earlier request with this id cannot be
// repeated any more.
func (p *repeats) used(id uint64) {
	if i := p.find(id); i >= 0 {
		p.known = slices.Delete(p.known, i, i+1)
	}
}

func (p *repeats) find(id uint64) int {
	return slices.IndexFunc(p.known, func(k knownRequest) bool { return k.id == id })
}
