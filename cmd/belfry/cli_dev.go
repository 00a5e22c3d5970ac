package main

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
	// defaultData is where a server keeps its data unless --data says otherwise.
	defaultData = "belfry-data"
	// secretName is the file in the data folder with the secret that
	// `serve --dev` makes. Its content signs tokens.
	secretName = "auth.secret"

	tokenTTL = 24 * time.Hour

	// defaultDevListen is where a development server serves clients.
	defaultDevListen = "127.0.0.1:8080"
	// defaultAdminListen is where a server serves its administration.
	defaultAdminListen = "127.0.0.1:8081"

	// untilEOFFlag is for a program that starts a server and may be killed: the server
	// ends with it, since its end of the pipe is closed then.
	untilEOFFlag = "until-eof"
)

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
