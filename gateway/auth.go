package gateway

import (
	"errors"

	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// SetAuth replaces the secrets and keys that tokens are verified with. The Audience
// and Issuer of the configuration stay. Sessions whose token was signed with a key
// that is not among them any more are closed with 4401. After an error nothing has
// changed.
func (g *Gateway) SetAuth(secrets [][]byte, jwks []byte) error {
	g.reauth.Lock()
	defer g.reauth.Unlock()
	next, err := g.auth.Load().Replace(secrets, jwks)
	if err != nil {
		return err
	}
	g.auth.Store(next)
	for _, s := range g.allSessions() {
		s.checkKey()
	}
	return nil
}

// checkKey ends the session if the key of its token is withdrawn. SetAuth calls it
// after it has withdrawn keys, and a login after it has set the session's key: one
// of the two calls sees both.
func (s *session) checkKey() {
	s.mu.Lock()
	withdrawn := s.tokenKey != nil && s.tokenKey.Withdrawn()
	s.mu.Unlock()
	if withdrawn {
		s.end(closedKeyGone)
	}
}

// refusedToken returns the refusal of a token. It gives the reason if the client may
// know it.
func refusedToken(err error) *refusal {
	message := "token: is not valid"
	if wrong, ok := errors.AsType[auth.TokenError](err); ok {
		message = "token: " + string(wrong)
	}
	return &refusal{code: protocol.CodeUnauthorized, message: message}
}
