package command

import (
	"math"
	"time"

	"github.com/belfry-im/belfry/shard/codec"
)

// Limits are the numbers of docs/semantics.md that decide what a shard keeps. They are
// part of the replicated state and set by Configure, so that replicas started with
// different flags agree. A zero field stands for its default; a negative bound is
// switched off.
type Limits struct {
	OfflineTTL         time.Duration // default 168h
	OfflineMaxMessages int           // default 1000
	OfflineMaxBytes    int           // default 256 KiB
	HistoryTTL         time.Duration // default 168h
	UserBytes          int           // default 1 MiB; history of one user, entry headers included
	DedupWindow        time.Duration // default 5m
	RecallWindow       time.Duration // default 2m
	Recents            int           // default 100
	MaxDevices         int           // default 16
	NewConversations   int           // default 200 per hour; -1 off
	MaxConversations   int           // default 10000, opened by the user
	MaxBlocked         int           // default 1000
	GroupTTL           time.Duration // default 168h; history of a group
	GroupBytes         int           // default 4 MiB; history of one group, entry headers included
	GroupRate          int           // default 40 messages per second and group; -1 off
	GroupBurst         int           // default 100
}

// A limit is a field of Limits: a duration or a number.
type limit struct {
	duration *time.Duration
	number   *int
}

// all lists the limits in the order of the encoding.
func (l *Limits) all() []limit {
	return []limit{
		{duration: &l.OfflineTTL}, {number: &l.OfflineMaxMessages}, {number: &l.OfflineMaxBytes},
		{duration: &l.HistoryTTL}, {number: &l.UserBytes}, {duration: &l.DedupWindow},
		{duration: &l.RecallWindow}, {number: &l.Recents}, {number: &l.MaxDevices},
		{number: &l.NewConversations}, {number: &l.MaxConversations}, {number: &l.MaxBlocked},
		{duration: &l.GroupTTL}, {number: &l.GroupBytes}, {number: &l.GroupRate}, {number: &l.GroupBurst},
	}
}

// Fields writes or reads the limits.
func (l *Limits) Fields(x *codec.Coder) {
	for _, v := range l.all() {
		if v.duration != nil {
			codec.Int(x, v.duration)
		} else {
			codec.Int(x, v.number)
		}
	}
}

// WithDefaults returns limits with zero fields replaced by their defaults, and
// negative bounds by a bound that nothing reaches.
func (l Limits) WithDefaults() Limits {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	defTime := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	defTime(&l.OfflineTTL, 168*time.Hour)
	def(&l.OfflineMaxMessages, 1000)
	def(&l.OfflineMaxBytes, 256<<10)
	defTime(&l.HistoryTTL, 168*time.Hour)
	def(&l.UserBytes, 1<<20)
	defTime(&l.DedupWindow, 5*time.Minute)
	defTime(&l.RecallWindow, 2*time.Minute)
	def(&l.Recents, 100)
	def(&l.MaxDevices, 16)
	def(&l.NewConversations, 200)
	def(&l.MaxConversations, 10000)
	def(&l.MaxBlocked, 1000)
	defTime(&l.GroupTTL, 168*time.Hour)
	def(&l.GroupBytes, 4<<20)
	def(&l.GroupRate, 40)
	def(&l.GroupBurst, 100)
	for _, bound := range []*int{
		&l.OfflineMaxMessages, &l.OfflineMaxBytes, &l.UserBytes, &l.Recents, &l.MaxDevices,
		&l.NewConversations, &l.MaxConversations, &l.MaxBlocked, &l.GroupBytes, &l.GroupRate, &l.GroupBurst,
	} {
		if *bound < 0 {
			*bound = math.MaxInt32
		}
	}
	return l
}
