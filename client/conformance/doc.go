// Package conformance holds a client SDK of any language to docs/semantics.md, with the
// real server. The SDK runs in a driver: a small program that does what lines of JSON on
// its stdin say and tells on its stdout what the SDK did; README.md has that protocol.
// Between the SDK and the server stands a Proxy, which sees every frame, so that what an
// SDK must not ask for is observed and not believed, and which makes the link fail where
// it hurts.
//
// The scenarios are this package's tests. They run against the Go SDK, against the
// TypeScript SDK with the build tag clients, and against any other with
//
//	go test ./client/conformance -run TestDriver -driver "path/to/driver args"
package conformance
