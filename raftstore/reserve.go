package raftstore

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// Reserve makes reservations at the leaders of their users' shards, so that all gateways
// count them. Result i is about list[i]. A change of leader forgets them.
func (s *Store) Reserve(list []store.Reservation) []store.Reserved {
	if s.cluster == nil {
		return s.reserveHere(list)
	}
	results := make([]store.Reserved, len(list))
	var asking sync.WaitGroup
	turns := make(chan struct{}, scatterMost)
	for sh, indexes := range s.reservationsByShard(list) {
		turns <- struct{}{}
		asking.Go(func() {
			defer func() { <-turns }()
			part := make([]store.Reservation, len(indexes))
			for k, i := range indexes {
				part[k] = list[i]
			}
			reserved, err := sh.reserve(part)
			for k, i := range indexes {
				if results[i].Err = err; err == nil {
					results[i] = reserved[k]
				}
			}
		})
	}
	asking.Wait()
	return results
}

// Unreserve ends reservations. It does not block: one that cannot be ended now ends by
// itself after store.ReservedFor.
func (s *Store) Unreserve(list []store.Reservation) {
	if s.cluster == nil {
		s.unreserveHere(list)
		return
	}
	for sh, indexes := range s.reservationsByShard(list) {
		part := make([]store.Reservation, len(indexes))
		for k, i := range indexes {
			part[k] = list[i]
		}
		if sh.leaderHere() != nil {
			s.unreserveHere(part)
			continue
		}
		node, number, _ := sh.leads.get()
		if stream := s.streamTo(node); stream != nil {
			_ = stream.Send(peer.Request{Kind: peer.Unreserve, Shard: sh.id, Term: number, Body: encodeCall(reservationList(&part))}, func(peer.Answer) {})
		}
	}
}

// reservationsByShard sorts the indexes of reservations by the shards of their users.
func (s *Store) reservationsByShard(list []store.Reservation) map[*shardRef][]int {
	parts := make(map[*shardRef][]int)
	for i := range list {
		sh := s.shardOf(list[i].User)
		parts[sh] = append(parts[sh], i)
	}
	return parts
}

// reserve makes reservations for users of one shard.
func (sh *shardRef) reserve(list []store.Reservation) (results []store.Reserved, err error) {
	err = sh.call(call{
		kind: peer.Reserve,
		here: func(l *leader) error { results = l.shard.store.reserveHere(list); return nil },
		body: func() []byte { return encodeCall(reservationList(&list)) },
		read: func(answer []byte) error {
			if err := decodeCall(answer, reservedList(&results)); err != nil {
				return err
			}
			if len(results) != len(list) {
				return errors.New("raftstore: reservations were answered in part")
			}
			return nil
		},
	})
	return results, err
}

func (l *leader) answerReserve(body []byte) ([]byte, error) {
	var list []store.Reservation
	if err := decodeCall(body, reservationList(&list)); err != nil {
		return nil, err
	}
	results := l.shard.store.reserveHere(list)
	if i := slices.IndexFunc(results, func(r store.Reserved) bool { return r.Err != nil }); i >= 0 {
		return nil, results[i].Err
	}
	return encodeCall(reservedList(&results)), nil
}

func (l *leader) answerUnreserve(body []byte) error {
	var list []store.Reservation
	if err := decodeCall(body, reservationList(&list)); err != nil {
		return err
	}
	now := time.Now()
	for i := range list {
		l.shard.store.reservations.End(list[i], now)
	}
	return nil
}

func (s *Store) reserveHere(list []store.Reservation) []store.Reserved {
	results := make([]store.Reserved, len(list))
	now := time.Now()
	for i := range list {
		results[i] = s.reservations.Add(list[i], now)
	}
	return results
}

func (s *Store) unreserveHere(list []store.Reservation) {
	for i := range list {
		s.reservations.Remove(list[i])
	}
}

func reservationList(list *[]store.Reservation) func(x *codec.Coder) {
	return func(x *codec.Coder) {
		codec.List(x, list, 5, maxCalled, func(r *store.Reservation, x *codec.Coder) {
			codec.Uint(x, &r.ID)
			codec.Text(x, &r.User, command.MaxName)
			codec.Text(x, &r.Group, command.MaxGroup)
			codec.Bool(x, &r.Joins)
			codec.Bool(x, &r.Owns)
		})
	}
}

func reservedList(list *[]store.Reserved) func(x *codec.Coder) {
	return func(x *codec.Coder) {
		codec.List(x, list, 2, maxCalled, func(r *store.Reserved, x *codec.Coder) {
			codec.UintMax(x, &r.Joined, 1<<31-1)
			codec.UintMax(x, &r.Owned, 1<<31-1)
		})
	}
}
