package replica

import "time"

const (
	// maxInFlight bounds the entries of one replica that are on their way through Raft.
	// Commands that come when there are so many wait in the queue.
	maxInFlight = 4
	// followAfter is how long an entry has been on its way before a large one follows.
	followAfter = 300 * time.Microsecond
	// An entry of fewer than followCommands, or fewer than are on their way, follows after
	// followSmall. It costs the replicas as much CPU as some 60 commands: where entries
	// land sooner than that they are bound by CPU rather than by disks and the network, and
	// more of them on their way would only make each take longer.
	followCommands = 128
	followSmall    = 5 * time.Millisecond
)

// launch proposes entries in a pipeline until the proposer is closed, and sends them to
// launched.
//
// A leader writes an entry, sends it, and the others write it, one after the other. The
// leader's disk is idle while an entry is with the others, so the next one follows as
// soon as the log has been written: before that Raft would not take it, and commands can
// as well still join it.
func (p *proposer) launch(launched chan<- *batch) {
	defer close(launched)
	pace := time.NewTimer(followAfter)
	defer pace.Stop()
	for {
		b, pause, ok := p.follow()
		switch {
		case b != nil:
			b.wait = p.propose(b)
			if b.refused {
				p.fail() // land may wait for entries before it
			}
			launched <- b
		case !ok:
			return
		case pause > 0:
			pace.Reset(pause)
			select {
			case <-p.wake:
			case <-pace.C:
			}
		default:
			<-p.wake
		}
	}
}

// follow is next for the pipeline. pause is after which time to look again, if there is
// something to propose; 0: when wake tells.
func (p *proposer) follow() (b *batch, pause time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.urgent && p.flying > 0 {
		if p.flying == maxInFlight || p.writing() {
			return nil, 0, true
		}
		pause = followAfter
		if len(p.queue[0].waiters) < p.large() {
			pause = followSmall
		}
		full := len(p.queue) > 1 // nothing can join its first batch
		if pause -= time.Since(p.launched); pause > 0 && !full {
			return nil, pause, true
		}
	}
	if b, ok = p.take(); b != nil {
		p.flying++
		p.onTheirWay += len(b.waiters)
		p.launched = time.Now()
	}
	return b, 0, ok
}

// large is from how many commands on an entry need not wait for more. The caller holds mu.
func (p *proposer) large() int { return max(followCommands, p.onTheirWay) }

// land answers entries in the order in which they were launched.
func (p *proposer) land(launched <-chan *batch) {
	for b := range launched {
		err := b.wait()
		if err != nil {
			p.fail()
		}
		observe(p.latency, b.opened)
		p.landed(b)
		p.answer(b, err)
	}
}

func (p *proposer) landed(b *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flying--
	p.onTheirWay -= len(b.waiters)
	if p.urgent {
		p.signal()
	}
}

// wrote has to be called when the log has been written.
func (p *proposer) wrote() {
	if p.writing == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.urgent {
		p.signal()
	}
}
