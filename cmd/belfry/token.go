package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/cobra"

	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// defaultData is where a server keeps its data unless --data says otherwise.
	defaultData = "belfry-data"
	// secretName is the file in the data folder with the secret that
	// `serve --dev` makes. Its content signs tokens.
	secretName = "auth.secret"

	tokenTTL = 24 * time.Hour
)

func newTokenCommand() *cobra.Command {
	var user, data string
	var secretFiles []string
	ttl := tokenTTL
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
				return usagef("--user: want the user that the token is for")
			}
			if err := checkUser(user); err != nil {
				return usagef("--user: %w", err)
			}
			var token string
			var err error
			if len(secretFiles) > 0 {
				token, err = tokenFromFile(secretFiles[0], user, ttl)
			} else {
				token, err = devToken(data, user, ttl)
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
	flags.Var(duration{&ttl, time.Second}, "ttl", "how long the token is good")
	flags.StringVar(&data, "data", defaultData, "data folder of a server that runs with --dev")
	flags.StringSliceVar(&secretFiles, "auth-secret-file", nil, "file with the secret, the first of several; overrides --data")
	return cmd
}

// devToken makes a login token for user with the secret that `serve --dev`
// keeps in its data folder.
func devToken(dataDir, user string, ttl time.Duration) (string, error) {
	token, err := tokenFromFile(filepath.Join(dataDir, secretName), user, ttl)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: run `belfry serve --dev` with this data folder first, or name the secret with --auth-secret-file", err)
	}
	return token, err
}

func tokenFromFile(path, user string, ttl time.Duration) (string, error) {
	secret, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	now := time.Now()
	claims := jwt.RegisteredClaims{Subject: user, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(ttl))}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(auth.TrimSecret(secret))
}

// checkUser holds a name to the rule for users.
func checkUser(user string) error {
	if !protocol.ValidUser(user) {
		return fmt.Errorf("%q: a user is %s", user, protocol.UserForm)
	}
	return nil
}
