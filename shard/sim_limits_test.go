package shard_test

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// limitQueue takes what exceeds the offline limits out of the queue, from the
// conversation that fills most of it.
func (u *modelUser) limitQueue(l *command.Limits, now int64) {
	for {
		var count, size int
		var byCount, bySize fullest
		for _, peer := range u.peers {
			v := u.views[peer]
			var n, b int
			var head *modelEntry
			for _, e := range v.held() {
				if v.queued(e, l, now) {
					if head == nil {
						head = e
					}
					n++
					b += e.size
				}
			}
			count += n
			size += b
			byCount.offer(v, head, n)
			bySize.offer(v, head, b)
		}
		var from fullest
		switch {
		case count > l.OfflineMaxMessages:
			from = byCount
		case size > l.OfflineMaxBytes:
			from = bySize
		default:
			return
		}
		from.head.unqueued, from.head.lost = true, true
		for _, e := range from.view.entries[:from.head.seq-1] { // what is too old for the queue stays out if that grows longer
			e.unqueued = true
		}
	}
}

// limitHistory removes messages until the user's views fit.
func (u *modelUser) limitHistory(l *command.Limits, now int64) {
	for {
		total := 0
		var byRead, bySize fullest
		for _, peer := range u.peers {
			v := u.views[peer]
			v.expireHead(l, now)
			held := v.held()
			if len(held) == 0 {
				continue
			}
			size, queued := 0, 0
			for _, e := range held {
				size += e.size
				if v.queued(e, l, now) {
					queued += e.size
				}
			}
			total += size
			bySize.offer(v, held[0], size)
			if !v.queued(held[0], l, now) {
				byRead.offer(v, held[0], size-queued)
			}
		}
		if total <= l.UserBytes {
			return
		}
		from := byRead
		if from.head == nil {
			from = bySize
		}
		if from.view.queued(from.head, l, now) {
			from.head.unqueued, from.head.lost = true, true
		}
		from.head.cidForgotten = true
		from.head.leave(l, now, query.GapEvicted)
	}
}

func (v *modelView) expireHead(l *command.Limits, now int64) {
	for _, e := range v.held() {
		if !e.expired(l, now) {
			return
		}
		e.leave(l, now, query.GapExpired)
	}
}

// A fullest finds the conversation with the largest measure; on a tie the one
// with the older head.
type fullest struct {
	view *modelView
	head *modelEntry
	most int
}

func (f *fullest) offer(v *modelView, head *modelEntry, measure int) {
	if head == nil {
		return
	}
	if f.head == nil || measure > f.most || measure == f.most && head.arrival < f.head.arrival {
		*f = fullest{v, head, measure}
	}
}
