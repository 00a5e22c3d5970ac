// Package client speaks belfry.v1 to a Belfry server.
//
// A Client is one device of one user. It holds one connection, connects again
// with growing, jittered pauses when that breaks, and goes on where the
// application stands: at login it sends the newest cursor whose frame the
// application's handlers have returned from.
//
// # What the application can rely on
//
// Handlers are called one at a time, from one goroutine, in the order of the
// server's frames. A message is handed to OnMessages once, however often the
// server has to push it; it is acknowledged when the handler has returned. A
// handler may call the Client, also to send and wait for the answer.
//
// Send stores a message once, however often it has to be repeated: repeats bear
// the same cid. Sends to one conversation are stored in the order in which Send
// was called, and each waits for the answer to the one before, so that none
// overtakes a send that is repeated after a temporary refusal. While there is no
// connection requests wait, up to the bounds in Config; then ErrQueueFull.
//
// Every call that waits takes a context and ends with it. If its request may
// have reached the server by then, the error is ErrUnknown as well.
//
// # How it ends
//
// Being kicked, a refused token and a refused login end the Client for good:
// see Err, OnKicked and StateClosed. Everything else is retried until Close.
//
// # Storage
//
// The device's cursors and the ids of messages that it has are kept in memory, in
// the type held. An application that wants to resume after a restart saves Cursor
// and gives it back as Config.Resume.
package client
