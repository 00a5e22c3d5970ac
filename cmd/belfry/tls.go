package main

import (
	"crypto/tls"
	"errors"
	"sync/atomic"
)

// A liveCertificate is the certificate of a listener. It may be replaced while the
// listener serves.
type liveCertificate struct {
	current atomic.Pointer[tls.Certificate]
}

// replace replaces the certificate by the contents of a certificateSource.
func (c *liveCertificate) replace(contents [][]byte) error {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return err
	}
	c.current.Store(&pair)
	return nil
}

// config returns the TLS configuration of a listener, nil for a nil certificate.
func (c *liveCertificate) config() *tls.Config {
	if c == nil {
		return nil
	}
	return &tls.Config{
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if pair := c.current.Load(); pair != nil {
				return pair, nil
			}
			return nil, errors.New("no certificate")
		},
	}
}
