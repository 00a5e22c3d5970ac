// Package watch tells a node what its sessions and groups are to read at leaders on
// other nodes.
//
// A node opens one stream to each node that leads shards of its users and groups:
//
//	Follower   the end of the node that has sessions. It keeps every leader told of
//	           what the node watches, and how far it has read
//	Server     the end of the leaders' node
//	Audience   what a Server keeps of one following node; its Session and Group stand
//	           for those of the node wherever a leader tells somebody something
//
// # What is promised
//
// A wake says that there is something to read, so one that waits stands for all. What
// is lost with a stream is made up for: a node that has a new stream, or that hears of a
// new leader, tells that leader again of everything that it watches of the shard, with
// what it has read up to, and is woken where that is behind.
//
// A Kick is told until the node has confirmed it, over new streams too, unless the node
// stays away for Config.Keep or the leader ends. What the leader does not know is named
// as gone: it ended while nobody could tell.
//
// Signals and messages that are stored nowhere come in order, and are dropped and
// counted where too much waits, or with the stream.
//
// Each end takes the other for gone after Config.Silence without a word; a Server then
// calls Host.Lost.
//
// # Bytes
//
// A message is a version (1 byte) and items: a kind (1 byte) and its fields. Items that
// belong to a leadership follow one that names its shard and term. Both ends take
// messages of one version alone; anything else breaks the stream.
package watch
