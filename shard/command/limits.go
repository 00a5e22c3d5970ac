package command

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/belfry-im/belfry/shard/codec"
)

// Limits are the limits of docs/semantics.md that decide what a shard keeps. They are
// part of the replicated state, set by Configure, so that replicas agree even if they
// were started with different flags. A field that is 0 stands for its default. A
// negative bound means no limit.
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

// A limit is one field of Limits, a duration or a number, with the tag that names it in
// logs and snapshots.
type limit struct {
	tag      uint64
	duration *time.Duration
	number   *int
}

// all lists the limits in order of tag. A tag must never be used again: the tag of a
// limit that was removed stays unused.
func (l *Limits) all() []limit {
	return []limit{
		{1, &l.OfflineTTL, nil},
		{2, nil, &l.OfflineMaxMessages},
		{3, nil, &l.OfflineMaxBytes},
		{4, &l.HistoryTTL, nil},
		{5, nil, &l.UserBytes},
		{6, &l.DedupWindow, nil},
		{7, &l.RecallWindow, nil},
		{8, nil, &l.Recents},
		{9, nil, &l.MaxDevices},
		{10, nil, &l.NewConversations},
		{11, nil, &l.MaxConversations},
		{12, nil, &l.MaxBlocked},
		{13, &l.GroupTTL, nil},
		{14, nil, &l.GroupBytes},
		{15, nil, &l.GroupRate},
		{16, nil, &l.GroupBurst},
	}
}

func (v *limit) fields(x *codec.Coder) {
	if v.duration != nil {
		codec.Int(x, v.duration)
	} else {
		codec.Int(x, v.number)
	}
}

// maxTags bounds the number of encoded limits that are read.
const maxTags = 1000

// Fields writes or reads the limits: their number, then the tag and value of each in
// order of tag. A tag that is absent reads as 0, so that a program reads the limits of
// an earlier one that had fewer.
func (l *Limits) Fields(x *codec.Coder) {
	all := l.all()
	if x.Writing() {
		codec.Len(x, len(all), 2, maxTags)
		for _, v := range all {
			codec.Uint(x, &v.tag)
			v.fields(x)
		}
		return
	}
	*l = Limits{}
	last := uint64(0)
	for range codec.Len(x, 0, 2, maxTags) {
		tag := x.Decoder.Uint()
		i := slices.IndexFunc(all, func(v limit) bool { return v.tag == tag && tag > last })
		if i < 0 {
			x.Fail(fmt.Errorf("limit %d is unknown or out of order: %w", tag, codec.ErrMalformed))
			return
		}
		all[i].fields(x)
		last = tag
	}
}

// WithDefaults returns the limits with defaults in place of zero fields, and a bound
// that nothing reaches in place of negative ones.
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
