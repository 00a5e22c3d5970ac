package gateway

import "github.com/belfry-im/belfry/gateway/protocol"

// An op handles one of protocol.Ops.
type op struct {
	// handle handles a request. It replies, at once or later, or returns the error that
	// the request is refused with. It runs on the read loop, so commands are submitted in
	// the order of their frames.
	handle func(*session, request) error

	// costly marks a request whose reply takes about 1 ms to build, and up to 256 KiB
	// until the client has read it. While memory is low such requests are refused, as
	// large ones are. As many run at a time as there are processors, and only one for
	// each user.
	costly bool

	frame frameOp // how it is noted in the log of frames; set by init
}

var ops = map[string]op{
	protocol.OpLogin:              {handle: (*session).login},
	protocol.OpAck:                {handle: (*session).acknowledge},
	protocol.OpRefreshToken:       {handle: (*session).refreshToken},
	protocol.OpSetState:           {handle: (*session).setState},
	protocol.OpPing:               {handle: (*session).ping},
	protocol.OpLogout:             {handle: (*session).logout},
	protocol.OpSend:               {handle: (*session).send},
	protocol.OpGetMessage:         {handle: (*session).getMessage, costly: true},
	protocol.OpGetRecents:         {handle: (*session).getRecents, costly: true},
	protocol.OpGetConversations:   {handle: (*session).getConversations, costly: true},
	protocol.OpReadReport:         {handle: (*session).readReport},
	protocol.OpDeleteMessage:      {handle: (*session).deleteMessage},
	protocol.OpDeleteConversation: {handle: (*session).deleteConversation},
	protocol.OpSetConversation:    {handle: (*session).setConversation},
	protocol.OpRecall:             {handle: (*session).recall},
	protocol.OpTyping:             {handle: (*session).typing},
	protocol.OpGetPresence:        {handle: (*session).getPresence},
	protocol.OpSubscribePresence:  {handle: (*session).subscribePresence},
	protocol.OpBlock:              {handle: (*session).block},
	protocol.OpUnblock:            {handle: (*session).unblock},
	protocol.OpGetBlocked:         {handle: (*session).getBlocked, costly: true},
	protocol.OpCreateGroup:        {handle: (*session).createGroup},
	protocol.OpJoinGroup:          {handle: (*session).joinGroup},
	protocol.OpLeaveGroup:         {handle: (*session).leaveGroup},
	protocol.OpDismissGroup:       {handle: (*session).dismissGroup},
	protocol.OpAnswerJoin:         {handle: (*session).answerJoin},
	protocol.OpAddMembers:         {handle: (*session).addMembers},
	protocol.OpRemoveMembers:      {handle: (*session).removeMembers},
	protocol.OpSetMember:          {handle: (*session).setMember},
	protocol.OpSetGroup:           {handle: (*session).setGroup},
	protocol.OpAnswerOwner:        {handle: (*session).answerOwner},
	protocol.OpUnban:              {handle: (*session).unban},
	protocol.OpGetBans:            {handle: (*session).getBans},
	protocol.OpGetGroup:           {handle: (*session).getGroup, costly: true},
	protocol.OpGetMembers:         {handle: (*session).getMembers, costly: true},
	protocol.OpGetGroups:          {handle: (*session).getGroups, costly: true},
}
