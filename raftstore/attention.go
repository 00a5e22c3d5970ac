package raftstore

import (
	"fmt"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// attentionOf returns users' attention to messages, each as the leader of the user's shard
// knows it. Of users whose leader does not answer, err says why; the others are answered.
func (s *Store) attentionOf(asks []attentionAsk) (list []attention, err error) {
	list = make([]attention, len(asks))
	places := make(map[*shardRef][]int)
	for i := range asks {
		sh := s.shardOf(asks[i].user)
		places[sh] = append(places[sh], i)
	}
	for sh, at := range places {
		part := make([]attentionAsk, len(at))
		for i, place := range at {
			part[i] = asks[place]
		}
		answers, failed := sh.attentionOf(part)
		if failed != nil {
			err = failed
			for _, place := range at {
				list[place] = attentionUnknown
			}
			continue
		}
		for i, place := range at {
			list[place] = answers[i]
		}
	}
	return list, err
}

func (sh *shardRef) attentionOf(asks []attentionAsk) (list []attention, err error) {
	hub := sh.store.hub
	if sh.store.cluster == nil {
		return hub.attentions(asks), nil // whether or not the shard serves
	}
	err = sh.call(call{
		kind: peer.Attention,
		here: func(*leader) error { list = hub.attentions(asks); return nil },
		body: func() []byte { return encodeCall(attentionAsks(&asks)) },
		read: func(answer []byte) error {
			if err := decodeCall(answer, attentionList(&list)); err != nil || len(list) == len(asks) {
				return err
			}
			return fmt.Errorf("%d answers of %d", len(list), len(asks))
		},
	})
	return list, err
}

func (l *leader) answerAttention(body []byte) ([]byte, error) {
	var asks []attentionAsk
	if err := decodeCall(body, attentionAsks(&asks)); err != nil {
		return nil, err
	}
	list := l.shard.store.hub.attentions(asks)
	return encodeCall(attentionList(&list)), nil
}

func (h *hub) attentions(asks []attentionAsk) []attention {
	list := make([]attention, len(asks))
	for i := range asks {
		list[i] = h.attention(asks[i].user, asks[i].group, &asks[i].mark)
	}
	return list
}

// elsewhere reports whether another node, or none, leads a user's shard, and so knows what
// the user acks.
func (s *Store) elsewhere(user command.UserID) bool {
	return s.cluster != nil && s.shardOf(user).leaderHere() == nil
}

// A memberAsk asks for the attention of a member of a group whose leader is elsewhere.
type memberAsk struct {
	message *waitingHook
	user    command.UserID
	header  query.QueuedHeader
}

// askElsewhere asks the leaders of members about the messages that a read has found for
// them, outside of the lock of this shard. Who may still ack such a message waits with it;
// who is away, hooks are told of.
func (h *hooker) askElsewhere() {
	if len(h.asks) == 0 {
		return
	}
	asks := h.asks
	h.asks = nil
	list := h.attentions(asks)
	for i := range asks {
		w, user := asks[i].message, asks[i].user
		h.waiting.weight--
		switch list[i] {
		case attentionAway:
			h.addReady(w, user, &asks[i].header)
		case attentionForeground, attentionUnknown:
			w.addUser(user)
			h.waiting.weight++
		}
	}
	for i := range asks {
		if w := asks[i].message; w.scanned && len(w.users) == 0 && !w.over {
			h.endWait(w)
		}
	}
}

// refresh asks the leaders of members elsewhere about messages that are to be checked
// again, for the read that follows.
func (h *hooker) refresh(due []*waitingHook) {
	var asks []memberAsk
	for _, w := range due {
		if w.Group == "" || h.fresh[w] != nil {
			continue
		}
		for _, user := range w.users[w.at:] {
			if h.shard.store.elsewhere(user) {
				asks = append(asks, memberAsk{w, user, w.header})
			}
		}
		h.fresh[w] = make(map[command.UserID]attention)
		if len(asks) >= hookRead {
			break
		}
	}
	if len(asks) == 0 {
		return
	}
	for i, a := range h.attentions(asks) {
		h.fresh[asks[i].message][asks[i].user] = a
	}
}

func (h *hooker) attentions(asks []memberAsk) []attention {
	list := make([]attentionAsk, len(asks))
	for i := range asks {
		list[i] = attentionAsk{asks[i].user, asks[i].message.Group, asks[i].header}
	}
	answers, err := h.shard.store.attentionOf(list)
	if err != nil {
		h.shard.log.Debug("some members' leaders do not answer for hooks", "error", err)
	}
	return answers
}

// membersAway tells the leader of groups on another node that members left the foreground.
// If it does not hear of that, messages for them wait until they are due.
func (sh *shardRef) membersAway(members []shard.MemberRef) {
	if node, _, _ := sh.leads.get(); node == "" {
		return
	}
	_ = sh.call(call{
		kind: peer.Away, once: true,
		here: func(l *leader) error { l.membersAway(members); return nil },
		body: func() []byte { return encodeCall(memberList(&members)) },
		read: func([]byte) error { return nil },
	})
}

func (l *leader) answerAway(body []byte) error {
	var members []shard.MemberRef
	if err := decodeCall(body, memberList(&members)); err != nil {
		return err
	}
	l.membersAway(members)
	return nil
}

func (l *leader) membersAway(members []shard.MemberRef) {
	if l.hooker == nil {
		return // this node has no receiver
	}
	for _, m := range members {
		l.hooker.memberAway(m.Group, m.User)
	}
}
