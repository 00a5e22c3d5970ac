package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// DefaultData is where a server keeps its data unless --data says otherwise.
	DefaultData = "belfry-data"
	// SecretName is the file in the data folder that holds the secret which `serve
	// --dev` makes, and which signs tokens.
	SecretName = "auth.secret"

	TokenTTL = 24 * time.Hour

	// DevListen is where a development server serves clients.
	DevListen = "127.0.0.1:8080"
	// AdminListen is where a server serves its administration.
	AdminListen = "127.0.0.1:8081"

	// UntilEOFFlag makes the server end at the end of its stdin. It is for a program
	// that starts a server and may be killed: its end of the pipe is closed then.
	UntilEOFFlag = "until-eof"
)

// DevToken makes a login token for user with the secret that `serve --dev`
// keeps in its data folder.
func DevToken(dataDir, user string, ttl time.Duration) (string, error) {
	token, err := TokenFromFile(filepath.Join(dataDir, SecretName), user, ttl)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: run `belfry serve --dev` with this data folder first, or name the secret with --auth-secret-file", err)
	}
	return token, err
}

func TokenFromFile(path, user string, ttl time.Duration) (string, error) {
	secret, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	now := time.Now()
	claims := jwt.RegisteredClaims{Subject: user, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(ttl))}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(auth.TrimSecret(secret))
}

// CheckUser returns an error if user is no valid name of a user.
func CheckUser(user string) error {
	if !protocol.ValidUser(user) {
		return fmt.Errorf("%q: a user is %s", user, protocol.UserForm)
	}
	return nil
}
