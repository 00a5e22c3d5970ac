package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/errgroup"
)

func (a *API) userOperations() {
	huma.Register(a.huma, a.operation(http.MethodGet, "/v1/users", "listUsers", "Users",
		"Users in order of name.", "All that are known: who has logged in, and who was written to."),
		a.listUsers)
	huma.Register(a.huma, a.operation(http.MethodGet, "/v1/users/{user}", "getUser", "Users",
		"What is known of a user.", "Settings, devices, queue, stored bytes, and the seqs that make up what is unread."),
		a.getUser)
	huma.Register(a.huma, a.operation(http.MethodPatch, "/v1/users/{user}", "setUser", "Users",
		"Suspend a user, refuse their older tokens, or keep their history for longer.",
		"What is absent stays. A suspended user's sessions close with 4403, those with a token that is refused now with 4401. They need not have logged in yet."),
		a.setUser)
	huma.Register(a.huma, a.operation(http.MethodDelete, "/v1/users/{user}", "eraseUser", "Users",
		"Erase a user's data.",
		"Suspends them, deletes what they sent to groups, also to those they left, takes them out of those they are in, then removes their messages, settings and sessions, and with the settings the suspension: "+
			"suspend them again, or set tokensFrom, to keep them out. What others received from them one-to-one belongs to those others and stays. After an error, repeat it: it goes on."),
		a.eraseUser)
	huma.Register(a.huma, a.operation(http.MethodDelete, "/v1/users/{user}/sessions", "kickSessions", "Users",
		"End a user's sessions, all or those of one device.", "They close with 4403. The user may log in again: see setUser."),
		a.kickSessions)
	op := a.operation(http.MethodGet, "/v1/users/{user}/export", "exportUser", "Users",
		"All of a user's data, as NDJSON.",
		"A line for each: first {\"user\": …} with what getUser says but for unread seqs, then {\"blocked\": user}, {\"conversation\": …} followed by its {\"message\": …} in order of seq, and {\"group\": …} followed by the messages that the user sent to it. Of groups that they left there are only those.")
	op.Responses["200"] = &huma.Response{
		Description: "one JSON object per line", Content: map[string]*huma.MediaType{ndjson: {Schema: &huma.Schema{Type: huma.TypeString}}},
	}
	huma.Register(a.huma, op, a.exportUser)
}

type UserPath struct {
	User userName `path:"user"`
}

type ListInput struct {
	Limit int `query:"limit" default:"100" minimum:"1" maximum:"1000"`
}

type userEntry struct {
	User      userName `json:"user"`
	Exists    bool     `json:"exists" doc:"has logged in; false: others wrote to them, or something of them was set"`
	Suspended bool     `json:"suspended"`
	Sessions  int      `json:"sessions"`
	LastSeen  int64    `json:"lastSeen" doc:"ms, when their last session ended; 0 = never"`
	Bytes     int      `json:"bytes" doc:"of stored messages"`
}

type listUsersOutput struct {
	Body struct {
		Users []userEntry `json:"users" nullable:"false"`
		More  bool        `json:"more" doc:"ask again, after the last of these"`
	}
}

func (a *API) listUsers(ctx context.Context, in *struct {
	After userName `query:"after" doc:"the last name of the page before"`
	ListInput
}) (*listUsersOutput, error) {
	ctx, cancel := a.waiting(ctx)
	defer cancel()
	entries, more, err := a.backend.Users(ctx, command.UserID(in.After), in.Limit)
	if err != nil {
		return nil, a.errorOf(err)
	}
	out := new(listUsersOutput)
	out.Body.Users, out.Body.More = make([]userEntry, len(entries)), more
	for i, e := range entries {
		out.Body.Users[i] = userEntry{
			User: userName(e.User), Exists: e.Exists, Suspended: e.Suspended, Sessions: e.Sessions, LastSeen: e.LastSeen, Bytes: e.Bytes,
		}
	}
	return out, nil
}

type userSettings struct {
	HistoryTTL int64 `json:"historyTtl" doc:"s, for which their history is kept if that is longer than for others; 0 = as for others"`
	Suspended  bool  `json:"suspended" doc:"cannot log in"`
	TokensFrom int64 `json:"tokensFrom" doc:"ms; tokens issued in a second before are refused; 0 = none is"`
}

type sessionInfo struct {
	Session  uint64 `json:"session"`
	Device   string `json:"device"`
	Platform string `json:"platform"`
	Since    int64  `json:"since" doc:"ms, of the login"`
}

type userGroup struct {
	Group groupName `json:"group"`
	Owner bool      `json:"owner" doc:"owns it"`
}

type unread struct {
	Conv   convName    `json:"conv"`
	Unread int         `json:"unread"`
	Seqs   [][2]uint64 `json:"seqs" nullable:"false" doc:"the seqs that make up the number, as ranges [from, to]"`
}

type volume struct {
	Messages int `json:"messages"`
	Bytes    int `json:"bytes"`
}

type UserInfo struct {
	User          userName      `json:"user"`
	Exists        bool          `json:"exists" doc:"has logged in"`
	LastSeen      int64         `json:"lastSeen" doc:"ms, when their last session ended; 0 = never"`
	Settings      userSettings  `json:"settings"`
	Sessions      []sessionInfo `json:"sessions" nullable:"false" doc:"in order of login"`
	Conversations int           `json:"conversations" doc:"one-to-one, that hold messages"`
	Stored        volume        `json:"stored" doc:"one-to-one messages in their history"`
	Queue         volume        `json:"queue" doc:"their offline queue"`
	Blocked       int           `json:"blocked" doc:"users whom they have blocked"`
	Groups        []userGroup   `json:"groups" nullable:"false"`
	UnreadTotal   int           `json:"unreadTotal"`
}

func userInfoOf(u *query.UserInfo) UserInfo {
	info := UserInfo{
		User: userName(u.User), Exists: u.Exists, LastSeen: u.LastSeen,
		Settings: userSettings{
			HistoryTTL: int64(u.Settings.HistoryTTL / time.Second), Suspended: u.Settings.Suspended, TokensFrom: u.Settings.TokensFrom,
		},
		Sessions: make([]sessionInfo, len(u.Sessions)), Conversations: u.Conversations,
		Stored: volume{u.Messages, u.Bytes}, Queue: volume{u.Queued, u.QueuedBytes},
		Blocked: u.Blocked, Groups: make([]userGroup, len(u.Groups)), UnreadTotal: u.Unread,
	}
	for i, s := range u.Sessions {
		info.Sessions[i] = sessionInfo{Session: uint64(s.Number), Device: s.Device, Platform: s.Platform, Since: s.LoginMS}
	}
	for i, g := range u.Groups {
		info.Groups[i] = userGroup{Group: groupName(g.Group), Owner: g.Owner}
	}
	return info
}

type getUserOutput struct {
	Body struct {
		UserInfo
		Unread []unread `json:"unread" nullable:"false" doc:"conversations that have unread messages"`
	}
}

// unreadReads is how many conversations have their unread seqs read at a time.
const unreadReads = 16

func (a *API) getUser(ctx context.Context, in *UserPath) (*getUserOutput, error) {
	ctx, cancel := a.waiting(ctx)
	defer cancel()
	user := command.UserID(in.User)
	info, err := a.knownUser(ctx, in.User)
	if err != nil {
		return nil, err
	}
	counts, err := a.backend.Unread(ctx, user)
	if err != nil {
		return nil, a.errorOf(err)
	}
	out := new(getUserOutput)
	out.Body.UserInfo = userInfoOf(info)
	out.Body.Unread = make([]unread, len(counts))
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(unreadReads)
	for i, c := range counts {
		reads.Go(func() error {
			var seqs []uint64
			var err error
			if c.Group != "" {
				seqs, err = a.backend.GroupUnreadSeqs(ctx, c.Group, user)
			} else {
				seqs, err = a.backend.UnreadSeqs(ctx, user, c.Peer)
			}
			// The number is the count of seqs: they were read later than c.Unread.
			out.Body.Unread[i] = unread{Conv: convOf(c.Peer, c.Group), Unread: len(seqs), Seqs: ranges(seqs)}
			return err
		})
	}
	if err := reads.Wait(); err != nil {
		return nil, a.errorOf(err)
	}
	return out, nil
}

// knownUser returns what the store knows of a user. Its error is not_found if there
// is no such user.
func (a *API) knownUser(ctx context.Context, user userName) (*query.UserInfo, error) {
	info, known, err := a.backend.User(ctx, command.UserID(user))
	if err != nil {
		return nil, a.errorOf(err)
	}
	if !known {
		return nil, notFound(fmt.Sprintf("user: there is no user %s", user))
	}
	return &info, nil
}

// ranges joins ascending seqs into ranges without gaps.
func ranges(seqs []uint64) [][2]uint64 {
	joined := make([][2]uint64, 0, 4)
	for _, seq := range seqs {
		if n := len(joined); n > 0 && joined[n-1][1]+1 == seq {
			joined[n-1][1] = seq
		} else {
			joined = append(joined, [2]uint64{seq, seq})
		}
	}
	return joined
}

type setUserInput struct {
	UserPath
	Body struct {
		HistoryTTL *int64 `json:"historyTtl,omitempty" minimum:"0" maximum:"315360000" doc:"s, at most ten years; 0 = as for others"`
		Suspended  *bool  `json:"suspended,omitempty"`
		TokensFrom *int64 `json:"tokensFrom,omitempty" minimum:"0" maximum:"9007199254740991" doc:"ms; refuse tokens that were issued in a second before, as tokens tell no less, and end the sessions that began with one; 0 = none"`
	}
}

func (a *API) setUser(ctx context.Context, in *setUserInput) (*struct{}, error) {
	callOf(ctx).target = string(in.User)
	cmd := &command.SetUser{User: command.UserID(in.User), Suspended: in.Body.Suspended, TokensFrom: in.Body.TokensFrom}
	if in.Body.HistoryTTL != nil {
		cmd.HistoryTTL = new(time.Duration(*in.Body.HistoryTTL) * time.Second)
	}
	if cmd.HistoryTTL == nil && cmd.Suspended == nil && cmd.TokensFrom == nil {
		return nil, badRequest("body: want historyTtl, suspended or tokensFrom")
	}
	if err := isMilliseconds("tokensFrom", in.Body.TokensFrom); err != nil {
		return nil, err
	}
	_, err := a.propose(ctx, cmd)
	return nil, err
}

type kickInput struct {
	UserPath
	Device string `query:"device" maxLength:"64" doc:"the only one whose session ends"`
}

type kickOutput struct {
	Body struct {
		Kicked int `json:"kicked" doc:"sessions that were ended"`
	}
}

func (a *API) kickSessions(ctx context.Context, in *kickInput) (*kickOutput, error) {
	callOf(ctx).target = string(in.User)
	if in.Device != "" {
		callOf(ctx).target += " on " + in.Device
	}
	ctx, cancel := a.waiting(ctx)
	defer cancel()
	sessions, err := a.backend.Sessions(ctx, command.UserID(in.User))
	if err != nil {
		return nil, a.errorOf(err)
	}
	out := new(kickOutput)
	for _, s := range sessions {
		if in.Device != "" && s.Device != in.Device {
			continue
		}
		if err := a.backend.Kick(ctx, command.UserID(in.User), s.Number); err != nil {
			return nil, a.errorOf(err)
		}
		out.Body.Kicked++
	}
	return out, nil
}
