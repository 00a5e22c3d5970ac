// Package client speaks belfry.v1 to a Belfry server.
//
// A Client is one device of one user. It holds one connection, makes it again
// with growing, jittered pauses when it breaks, and goes on where the
// application stands: the cursor it sends at login is the newest whose frame
// the application's handler has returned from.
//
// # What the application can rely on
//
// Handlers are called one at a time, from one goroutine, in the order of the
// server's frames. A message is handed to OnMessages once, however often the
// server has to push it; it is acknowledged when the handler has returned. A
// handler may call the Client, also to send and wait for the answer.
//
// Send stores a message once, however often it has to be repeated: repeats
// bear the same cid. Sends to one conversation are stored in the order in
// which Send was called, and each waits for the one before it, so that a
// refused send is not overtaken by its own repeat. While there is no
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
// What the device has (cursors, ids of messages) is kept in memory, in the
// type held. An application that wants to resume after a restart saves Cursor
// and gives it back as Config.Resume.
package client
