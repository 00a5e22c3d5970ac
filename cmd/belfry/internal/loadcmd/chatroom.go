package loadcmd

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/loadtest"
)

func defaultChatroom() loadtest.ChatroomConfig {
	return loadtest.ChatroomConfig{Members: 10000, Online: 2000, Body: 128, Rate: 20, Lead: 3 * time.Second, Trail: 2 * time.Second}
}

func chatroomCommand() *cobra.Command {
	var o options
	config := defaultChatroom()
	loss := lossOptions{loss: &config.Loss}
	cmd := &cobra.Command{
		Use:   "chatroom",
		Short: "All who are in a chatroom lose the server, and come back at once",
		Long: `Make a chatroom, with only some of its members online, one of whom sends. In the
middle all sessions are lost, as in ` + "`belfry load reconnect`" + `, and come back at
once with their cursors. What a login leaves to history is fetched. Every member
has to get every message once.`,
		Example: `  belfry load chatroom --members 10000 --online 2000
  belfry load chatroom --drop --away 5s --rate 100`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config.Online > config.Members {
				return cli.Usagef("--online %d: want at most as many as --members %d", config.Online, config.Members)
			}
			if err := loss.prepare(cmd); err != nil {
				return err
			}
			return o.run(cmd, &config.Config, func(ctx context.Context) (scenarioReport, error) {
				report, err := loadtest.Chatroom(ctx, config)
				return chatroomReport{report}, err
			})
		},
	}
	fs := cmd.Flags()
	o.bind(fs)
	loss.bind(fs)
	fs.Var(cli.Count(&config.Members, 2, loadtest.MaxChatroom), "members", "members")
	fs.Var(cli.Count(&config.Online, 2, loadtest.MaxChatroom), "online", "of them, those who are online")
	bindGroupBody(fs, &config.Body)
	fs.Var(cli.Count(&config.Rate, 1, 1e6), "rate", "messages per second")
	fs.Var(cli.Duration(&config.Lead, 0), "lead", "how long messages flow before the loss")
	fs.Var(cli.Duration(&config.Trail, 0), "trail", "how long they flow after all are back")
	return cmd
}

type chatroomReport struct{ *loadtest.ChatroomReport }

func (r chatroomReport) table() [][]string {
	rows := append([][]string{
		{fmt.Sprintf("chatroom: %s members, %s online, %d B, %s, %s/s, %s", grouped(float64(r.Members)), grouped(float64(r.Online)), r.Body, r.Codec,
			grouped(float64(r.Rate)), howLost(&r.Storm))},
		{"made in", fmt.Sprintf("%.2f s", r.SetupSeconds)},
	}, stormRows(&r.Storm)...)
	rows = append(rows,
		latencyHead,
		latencyRow("send → ack", r.Ack),
		latencyRow("send → delivered", r.Delivery),
		[]string{"messages", fmt.Sprintf("%s sent, %s delivered, %s of them by a sync, %s from history",
			grouped(float64(r.Sent)), grouped(float64(r.Delivered)), grouped(float64(r.Missed)), grouped(float64(r.Fetched)))})
	rows = append(rows, errorRows(r.Refused)...)
	return finish(rows, r.Verdict)
}
