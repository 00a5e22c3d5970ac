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
// Being kicked, a refused login, and a Config.Token that has no other token than a refused
// one end the Client for good: see Err, OnKicked and StateClosed. Everything else is retried
// until Close.
//
// # Storage
//
// With Config.Store the client keeps messages, conversations, cursors and the outbox on
// the device, in a file of its own for each user and service; package store has the
// format. What a frame says is committed, in one transaction with the cursor, before its
// handlers are called, and acknowledged after: so the store is never behind what handlers
// have seen. Conversations, LocalMessages and SearchLocal work without a connection;
// Messages fetches exactly what the store lacks. A file that is in use, damaged or of
// somebody else is an error that names it. If a write fails later, as on a full disk, the
// connection ends, nothing is acknowledged, and the client tries again with its usual
// pauses; Queue returns the error.
//
// Messages with a ttl are left out when it is over, by the server's clock as of the last
// login, and then removed. Everything else stays until somebody deletes or recalls it,
// also past the server's history, unless the server says that its data are those of
// another time (Synced.Reset): then what did not come in this session is dropped, of all
// conversations or of Synced.ResetGroups.
//
// Without a store, the device's cursors and the ids of messages that it has are kept in
// memory. An application that wants to resume after a restart saves Cursor and gives it
// back as Config.Resume.
//
// # Exactly once
//
// With a store OnMessages gets each message once over the life of the store, also when the
// process is killed at any moment. Each call has a number. The client notes that it
// begins, calls the handler, and notes that it has returned; both notes survive the end of
// the process, and cost no flush. So the next process knows:
//
//   - calls that had not begun: made first of all, before anything is received
//   - calls that had returned: never made again
//   - the one call that had begun and not returned, if the process was killed in it: nobody
//     but the application can know how far it came. OnInterrupted gets its messages, to
//     compare with what the application has done; without OnInterrupted, OnMessages gets
//     them again
//
// When the machine loses power, notes of the last moments may be lost, and messages whose
// handler had returned come again, through OnMessages. An application whose effects must
// not be repeated even then makes them repeatable, with the id of the message: the echo
// bot in the examples derives the cid of its answer from it, and gives Retry for messages
// older than a minute: without that the server knows a cid again for some minutes only.
//
// That is for OnMessages. The other handlers tell what is in the store already; one may be
// left out if the process ends before it is called. Messages that are stored nowhere
// (ephemeral ones, and of conversations with DisableStorage) are passed at most once.
//
// A handler may be called before New has returned.
//
// # The outbox
//
// With a store Queue returns when the message is on disk. It has the same cid for ever,
// and goes out in its turn, in this process or a later one, until the server has answered:
// stored, or refused for good. An unknown outcome is no outcome: it is ErrQueued, and
// Pending lists the message. Cancel takes it out; it says so once the disk does. What an earlier process has queued is
// marked as a repeat, for which the server looks in all its history; past 6 days that might not be enough, and the message waits for the application
// to decide: see Outgoing.Stale. OnSent tells outcomes; one may be missed if the process
// ends meanwhile, and is then found in the conversation by its cid.
//
// # Wrappers
//
// Package mobile is for wrappers in Kotlin and Swift by way of gomobile. They call
// mobile.Open, draw from Conversations and Messages when the Handler tells of changes, and
// Send, which is Queue.
package client
