package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
)

func newTokenCommand() *cobra.Command {
	var user, data string
	var secretFiles []string
	ttl := cli.TokenTTL
	cmd := &cobra.Command{
		Use:   "token --user NAME",
		Short: "Make a login token for a user",
		Long: `Make a login token for a user and print it.

The token is signed with the secret of --auth-secret-file, or with the one that
` + "`belfry serve --dev`" + ` has put into the data folder.`,
		Example: `  belfry token --user alice
  belfry token --user alice --ttl 1h --data /var/lib/belfry
  belfry token --user alice --auth-secret-file /etc/belfry/auth.secret`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if user == "" {
				return cli.Usagef("--user: want the user that the token is for")
			}
			if err := cli.CheckUser(user); err != nil {
				return cli.Usagef("--user: %w", err)
			}
			var token string
			var err error
			if len(secretFiles) > 0 {
				token, err = cli.TokenFromFile(secretFiles[0], user, ttl)
			} else {
				token, err = cli.DevToken(data, user, ttl)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&user, "user", "", "the user who may log in with the token")
	flags.Var(cli.Duration(&ttl, time.Second), "ttl", "how long the token is good")
	flags.StringVar(&data, "data", cli.DefaultData, "data folder of a server that runs with --dev")
	flags.StringSliceVar(&secretFiles, "auth-secret-file", nil, "file with the secret, the first of several; overrides --data")
	return cmd
}
