package loadtest

import (
	"context"
	"sync"
	"time"
)

// rssEvery is the time between two reads of the server's memory use.
const rssEvery = 500 * time.Millisecond

// A Phase is what was measured of the pairs in a part of a run.
type Phase struct {
	Seconds        float64 `json:"seconds"`
	SendsPerSecond float64 `json:"sendsPerSecond"`
	Ack            Latency `json:"sendToAck"`
	Delivery       Latency `json:"sendToDelivered"`
	Late           Latency `json:"late"` // how late messages were sent
	// Server is per million messages, also those that are not of the pairs.
	Server *Usage `json:"server,omitempty"`
	RSSMax int64  `json:"rssMaxBytes,omitempty"` // of the server
}

// A sideLoad is the load beside the pairs in a phase; zero is none.
type sideLoad struct {
	send func(ctx context.Context, begin, end time.Duration) // on a goroutine of its own
	sent func() int64                                        // messages so far
	over func()                                              // ends it; called once all is measured
}

func (b *sideLoad) count() int64 {
	if b.sent == nil {
		return 0
	}
	return b.sent()
}

// phase lets the pairs send at their rate, for the warm-up and duration, and
// measures the latter.
func (r *pairsRun) phase(ctx context.Context, name string, duration time.Duration, beside sideLoad, phase *Phase) error {
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

	r.enter(name, r.secondsSince(begin), int64((to - begin).Seconds()))
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
		used, err := readUsages(r.run.config.ServerPIDs)
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
