package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const ndjson = "application/x-ndjson"

// An exportRow is one line of an export, with one field set.
type exportRow struct {
	User         *UserInfo           `json:"user,omitempty"`
	Blocked      *command.UserID     `json:"blocked,omitempty"`
	Conversation *exportConversation `json:"conversation,omitempty"`
	Message      *message            `json:"message,omitempty"`
	Group        *exportGroup        `json:"group,omitempty"`
}

type exportConversation struct {
	Conv        convName `json:"conv"`
	LastSeq     uint64   `json:"lastSeq"`
	Time        int64    `json:"time"`
	ReadSeq     uint64   `json:"readSeq"`
	PeerReadSeq uint64   `json:"peerReadSeq"`
	Unread      int      `json:"unread"`
	Muted       bool     `json:"muted"`
	Pinned      bool     `json:"pinned"`
	Marked      bool     `json:"markedUnread" doc:"by the user"`
}

type exportGroup struct {
	GroupInfo
	Member member `json:"member"`
}

type exportOutput struct {
	Body func(huma.Context)
}

func (a *API) exportUser(ctx context.Context, in *UserPath) (*exportOutput, error) {
	waiting, cancel := a.waiting(ctx)
	defer cancel()
	if _, err := a.knownUser(waiting, in.User); err != nil {
		return nil, err
	}
	return &exportOutput{Body: func(c huma.Context) {
		_, w := humago.Unwrap(c)
		w.Header().Set("Content-Type", ndjson)
		out := bufio.NewWriterSize(w, 32<<10)
		lines := json.NewEncoder(out)
		lines.SetEscapeHTML(false)
		err := a.backend.Export(ctx, command.UserID(in.User), func(row *store.ExportRow) error {
			return lines.Encode(exportRowOf(row))
		})
		if err == nil {
			err = out.Flush()
		}
		if rw, ok := w.(*responseWriter); ok && rw.status == 0 && err != nil {
			a.errorOf(err).write(w)
			return
		}
		if err != nil {
			// The status has been sent, so the connection is broken to show that
			// the export is incomplete.
			a.log.Warn("administration: export ended early", "error", err)
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

func exportRowOf(row *store.ExportRow) *exportRow {
	switch {
	case row.User != nil:
		return &exportRow{User: new(userInfoOf(row.User))}
	case row.Conversation != nil:
		c := row.Conversation
		return &exportRow{Conversation: &exportConversation{
			Conv: convOf(c.Peer, ""), LastSeq: c.LastSeq, Time: c.Time, ReadSeq: c.ReadSeq, PeerReadSeq: c.PeerReadSeq,
			Unread: c.Unread, Muted: c.Muted, Pinned: c.Pinned, Marked: c.MarkedUnread,
		}}
	case row.Message != nil:
		return &exportRow{Message: new(messageOf(row.Message))}
	case row.Group != nil:
		return &exportRow{Group: &exportGroup{groupInfoOf(&row.Group.Info), memberOf(&row.Group.Member)}}
	}
	return &exportRow{Blocked: row.Blocked}
}
