package loadtest

import (
	"context"
	"sync"
	"time"
)

// rssEvery is the time between two looks at the server's memory.
const rssEvery = 500 * time.Millisecond

// A Phase is what pairs saw in a part of a run.
type Phase struct {
	Seconds        float64 `json:"seconds"`
	SendsPerSecond float64 `json:"sendsPerSecond"`
	Ack            Latency `json:"sendToAck"`
	Delivery       Latency `json:"sendToDelivered"`
	Late           Latency `json:"late"` // behind the intended time when sent
	// Server is per million messages, those of others than the pairs included.
	Server *Usage `json:"server,omitempty"`
	RSSMax int64  `json:"rssMaxBytes,omitempty"` // of the server
}

// A besides is what goes on beside the pairs in a phase; nothing when zero.
type besides struct {
	send func(ctx context.Context, begin, end time.Duration) // on a goroutine of its own
	sent func() int64                                        // messages so far
	over func()                                              // ends it; called once all is measured
}

func (b *besides) count() int64 {
	if b.sent == nil {
		return 0
	}
	return b.sent()
}

// phase has the pairs send at their rate for a time and measures them.
func (r *pairsRun) phase(ctx context.Context, name string, duration time.Duration, beside besides, phase *Phase) error {
	begin := r.tally.Now().Truncate(bodyTick) // as the messages' times are
	from := begin + r.config.Warmup
	to := from + duration
	r.tally.Measure(from, to)
	chats := &schedule{begin: begin, end: to, rate: r.config.Rate, clients: r.config.Users}
	r.schedule.Store(chats)

	var pace sync.WaitGroup
	sending, stop := context.WithCancel(ctx)
	defer pace.Wait()
	defer stop()
	pace.Go(func() { chats.run(sending, r.tally.Now, func(i int) { r.clients[i].Pump() }) })
	if beside.send != nil {
		pace.Go(func() { beside.send(sending, begin, to) })
	}

	r.enter(name, r.seconds(begin), int64((to - begin).Seconds()))
	if err := r.sleepUntil(ctx, from); err != nil {
		return err
	}
	before, err := r.reading()
	if err != nil {
		return err
	}
	others := beside.count()
	for at := from; at < to; {
		at = min(at+rssEvery, to)
		if err := r.sleepUntil(ctx, at); err != nil {
			return err
		}
		used, err := readUsage(r.run.config.ServerPID)
		if err != nil {
			return err
		}
		phase.RSSMax = max(phase.RSSMax, used.rss)
	}
	after, err := r.reading()
	if err != nil {
		return err
	}
	work := beside.count()
	pace.Wait()
	if beside.over != nil {
		beside.over()
	}
	if err := r.settle(ctx, r.config.Drain); err != nil {
		return err
	}
	elapsed, sends := after.at-before.at, after.answered-before.answered
	phase.Seconds = elapsed.Seconds()
	phase.SendsPerSecond = float64(sends) / phase.Seconds
	phase.Ack, phase.Delivery, phase.Late = r.tally.ack.latency(), r.tally.delivery.latency(), r.tally.late.latency()
	if after.known {
		phase.Server = usageBetween(before.server, after.server, elapsed, sends+work-others)
	}
	return nil
}
