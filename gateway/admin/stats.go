package admin

import (
	"context"
	"net/http"

	"github.com/belfry-im/belfry/shard/query"
	"github.com/danielgtaylor/huma/v2"
)

func (a *API) storeOperations() {
	huma.Register(a.huma, a.operation(http.MethodGet, "/v1/stats", "getStats", "Store",
		"How much there is.", "In all, and by shard. While a shard does not serve, 503."), a.getStats)
}

type Counts struct {
	Users         int `json:"users" doc:"that are known, whether they have logged in or not"`
	Sessions      int `json:"sessions"`
	Groups        int `json:"groups"`
	Conversations int `json:"conversations" doc:"views of one-to-one conversations: two for each"`
	Messages      int `json:"messages" doc:"entries of all logs: two for a message of two users"`
	Bytes         int `json:"bytes" doc:"of those entries"`
}

type statsOutput struct {
	Body struct {
		Counts
		Time   int64    `json:"time" doc:"the store's clock, ms"`
		Shards []Counts `json:"shards" nullable:"false" doc:"in order of number"`
	}
}

func (a *API) getStats(ctx context.Context, _ *struct{}) (*statsOutput, error) {
	ctx, cancel := a.waiting(ctx)
	defer cancel()
	total, shards, err := a.backend.Stats(ctx)
	if err != nil {
		return nil, a.errorOf(err)
	}
	out := new(statsOutput)
	out.Body.Counts, out.Body.Time = countsOf(&total), a.backend.Now()
	out.Body.Shards = make([]Counts, len(shards))
	for i := range shards {
		out.Body.Shards[i] = countsOf(&shards[i])
	}
	return out, nil
}

func countsOf(c *query.Counts) Counts {
	return Counts{c.Users, c.Sessions, c.Groups, c.Conversations, c.Messages, c.Bytes}
}
