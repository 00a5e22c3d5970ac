package main

import (
	"crypto/tls"
	"errors"
	"sync/atomic"
)

// A liveCertificate is that of a listener, and may be replaced while it is served.
type liveCertificate struct {
	current atomic.Pointer[tls.Certificate]
}

// take is for the contents of a certificateSource.
func (c *liveCertificate) take(contents [][]byte) error {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return err
	}
	c.current.Store(&pair)
	return nil
}

// config is that of a listener; nil without a certificate.
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
